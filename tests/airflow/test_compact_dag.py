"""`dynalake_compact` as Airflow runs it: all tables of a lake, one that is broken, days that are forced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dynalake.catalog.partitions import list_partitions
from dynalake.clients import Clients
from tests.airflow.small_lake import add_table, make_lake
from tests.unit.compact.lake import TestLake

DAYS = ["20240101", "20240102"]
Run = Callable[..., dict[str, Any]]


def version(table: TestLake, day: str) -> str:
    return list_partitions(table.clients, table.names, table.names.parquet_table)[day].location


@pytest.mark.timeout(600)
def test_a_run_publishes_every_table_and_a_forced_day_again(clients: Clients, run: Run) -> None:
    lake = make_lake(clients, "compactdag")
    tables = [add_table(clients, lake, name, DAYS) for name in ("ONE", "TWO")]
    for table in tables:
        for number, day in enumerate(DAYS):
            lines = table.lines([{"id": {"S": day}, "n": {"N": str(number)}}])
            table.put(day, "1.gz", [*lines, "broken"])
    done = run("dynalake_compact", environment="compactdag")
    assert done.pop("run") == "success", done
    assert [done[f"convert[{n}]"] for n in range(4)] == ["success"] * 4
    assert [done[f"publish[{n}]"] for n in range(2)] == ["success"] * 2
    assert done["report"] == "success"
    before = [version(tables[0], day) for day in DAYS]

    clients.glue.delete_table(DatabaseName=lake.database, Name=tables[1].names.parquet_table)
    force = {"environment": "compactdag", "days": DAYS[:1], "force": True}
    done = run("dynalake_compact", **force)
    # The broken table fails the run; the other is converted again all the same.
    assert (done["run"], done["convert[0]"], done["publish[0]"]) == ("failed", "success", "success"), done
    assert done["publish[1]"] == "failed"
    after = [version(tables[0], day) for day in DAYS]
    assert (after[0] != before[0], after[1]) == (True, before[1])
