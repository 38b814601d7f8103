"""The wait for canaries, which is the same in setup and teardown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dynalake.operators.task.session import clients, poke, say, table_names

if TYPE_CHECKING:
    from airflow.sdk import PokeReturnValue


def look_for_canaries(sent: list[dict[str, Any]]) -> PokeReturnValue:
    """Look for canaries, as a sensor's poke: done once every one has arrived. Send missing ones again.

    A record that is put into a shard before Firehose reads it never arrives, and nothing tells when Firehose begins.
    """
    from dynalake.capture.proof.canaries import Canaries, Search, send_canaries

    found = clients()
    names = table_names(found)
    searches = [Search(found, names, Canaries(**each)) for each in sent]

    def look() -> int:
        missing = [search.missing() for search in searches]
        for search, into in zip(searches, missing, strict=True):
            if into:
                send_canaries(found, names, search.canaries, into)
        for search, into in zip(searches, missing, strict=True):
            search.check(into)
            for uri in sorted(set(search.found.values())):
                say(f"Canaries of {names.firehose(search.canaries.delivery)} are in {uri}")
        return sum(len(search.found) for search in searches)

    return poke(look)
