"""The wait for canaries, which is the same in setup and teardown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dynalake.operators.task.session import poke, run_table, say

if TYPE_CHECKING:
    from airflow.sdk import PokeReturnValue


def look_for_canaries(sent: list[dict[str, Any]]) -> PokeReturnValue:
    """Look for canaries, as a sensor's poke: done once all have arrived. Send missing ones again.

    A record that enters a shard before Firehose reads it never arrives, and nothing reports when Firehose begins.
    """
    from dynalake.capture.proof.canaries import Canaries, Search, send_canaries

    table = run_table()
    searches = [Search(table, Canaries(**canaries)) for canaries in sent]

    def look() -> int:
        missing = [search.missing() for search in searches]
        for search, into in zip(searches, missing, strict=True):
            if into:
                send_canaries(table, search.canaries, into)
        for search, into in zip(searches, missing, strict=True):
            search.check(into)
            for uri in sorted(set(search.found.values())):
                say(f"Canaries of {table.names.firehose(search.canaries.delivery)} are in {uri}")
        return sum(len(search.found) for search in searches)

    return poke(look)
