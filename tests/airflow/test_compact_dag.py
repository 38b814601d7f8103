"""`dynalake_compact` as Airflow runs it: all tables of a lake, a broken table, named days."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from dynalake.aws.clients import Clients
from dynalake.convert.finish import convert_due
from dynalake.lake.catalog.table import Table
from dynalake.lake.hive.hive import list_partitions
from dynalake.names import Lake
from tests.support.airflow.small_lake import add_table, converted_rows, make_lake, put

Run = Callable[..., dict[str, Any]]
ROWS = [("a", "x"), ("b", "x"), ("c", "x")]


def filled(clients: Clients, lake: Lake, name: str) -> Table:
    """Make a table with a closed day and today, each converted into two folders."""
    table = add_table(clients, lake, name)
    for ago, ids in ((2, "a"), (0, "b")):
        put(table, "1", ids, ago=ago)
    convert_due(table, lambda: datetime.now(UTC))
    for ago, ids in ((2, "ac"), (0, "b")):
        put(table, "2", ids, ago=ago)
    convert_due(table, lambda: datetime.now(UTC))
    return table


def folders(table: Table, ago: int) -> set[str]:
    """Return the live folders of a day."""
    days = sorted({file.partition for file in table.changes().files()})
    return {file.folder for file in table.changes().files({days[-1 if ago == 0 else 0]}) if file.rows}


def test_a_run_compacts_closed_days_and_named_days(clients: Clients, run: Run) -> None:
    lake = make_lake(clients, "compactdag")
    tables = [filled(clients, lake, name) for name in ("ONE", "TWO")]
    open_folders = [folders(table, 0) for table in tables]
    assert [len(folders(table, 2)) for table in tables] == [2, 2]

    states = run("dynalake_compact", environment="compactdag")

    assert states.pop("run") == "success", states
    assert [states[f"compact[{n}]"] for n in range(2)] == ["success"] * 2
    assert [len(folders(table, 2)) for table in tables] == [1, 1]
    assert [folders(table, 0) for table in tables] == open_folders
    for table in tables:
        (folder,) = folders(table, 2)
        partitions = list_partitions(table, table.names.parquet_table).values()
        assert any(folder in partition.location for partition in partitions)
        assert converted_rows(table) == ROWS

    today = lake.day_of(datetime.now(UTC))
    states = run("dynalake_compact", environment="compactdag", tables=["ONE"], days=[today], fold=True)
    assert (states["run"], states["compact[0]"], states.get("compact[1]")) == ("success", "success", None)
    assert folders(tables[0], 0).isdisjoint(open_folders[0])
    assert folders(tables[1], 0) == open_folders[1]
    assert sum(file.rows for file in tables[0].items().files()) == len(ROWS)
    assert converted_rows(tables[0]) == ROWS


@pytest.mark.newest
def test_a_dry_run_says_what_is_due_and_writes_nothing(
    clients: Clients, run: Run, logs: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not on Spark either."""
    lake = make_lake(clients, "drydag")
    table = filled(clients, lake, "DRY")
    before = {(o.key, o.etag) for o in table.store.list("")}, table.changes().metadata_location
    states = run("dynalake_compact", environment="drydag", dry_run=True, engine="spark", fold=True)
    assert (states["run"], states["compact[0]"]) == ("success", "success")
    assert ({(o.key, o.etag) for o in table.store.list("")}, table.changes().metadata_location) == before
    text = logs()
    assert "DRY: Compact dt=" in text
    assert "(closed): 2 files, " in text
    assert "bytes of changes into the state, requested" in text
    assert "Compare everything" in text


@pytest.mark.newest
def test_broken_tables_fail_alone_and_are_named(
    clients: Clients, run: Run, logs: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings that are not JSON, and a fault in a step.

    These are not faults: lost metadata, which is restored; settings of a newer version; and a table that setup has not
    made yet.
    """
    from dynalake.lake.compaction.widen import widen_table

    lake = make_lake(clients, "brokendag")
    tables = {name: filled(clients, lake, name) for name in ("DEEP", "FINE", "GONE", "NEWER", "NOT-JSON")}
    add_table(clients, lake, "YOUNG", iceberg=False)
    newer = json.dumps({"table": "NEWER", "of_a_newer_version": {"x": 1}})
    for name, settings in (("NEWER", newer), ("NOT-JSON", "{not JSON")):
        parameter = lake.table(name).settings_parameter
        clients.ssm.put_parameter(Name=parameter, Type="String", Value=settings, Overwrite=True)
    metadata = tables["GONE"].changes().metadata_location.removeprefix(tables["GONE"].names.uri(""))
    clients.s3.delete_object(Bucket=lake.bucket, Key=metadata)

    def fail(table: Table, *rest: Any, **options: Any) -> Any:
        if table.names.table == "DEEP":
            raise RecursionError("maximum recursion depth exceeded")
        return widen_table(table, *rest, **options)

    monkeypatch.setattr("dynalake.night.compact.widen_table", fail)
    outcome = run("dynalake_compact", environment="brokendag")

    states = {name: outcome[f"compact[{number}]"] for number, name in enumerate([*tables, "YOUNG"])}
    assert states == {
        "DEEP": "failed",
        "FINE": "success",
        "GONE": "success",
        "NEWER": "success",
        "NOT-JSON": "failed",
        "YOUNG": "success",
    }
    assert outcome["run"] == "failed"
    # A failed step stops no other.
    assert [len(folders(tables[name], 2)) for name in ("DEEP", "FINE", "NEWER", "NOT-JSON")] == [1, 1, 1, 2]
    text = logs()
    assert "DEEP: types: RecursionError: maximum recursion depth exceeded" in text
    assert "restored-entry: The Glue table dynalake_brokendag.gone" in text
    assert "YOUNG has no tables in Glue yet: dynalake_setup makes them" in text


@pytest.mark.parametrize(("kind", "days"), [("backfill", ("20190525",)), ("scheduled", ()), ("manual", ())])
def test_a_run_of_a_backfill_of_airflow_compacts_the_day_before(
    monkeypatch: pytest.MonkeyPatch, kind: str, days: tuple[str, ...]
) -> None:
    """With the type that Airflow gives to a task, which is both a text and an enum."""
    from airflow.sdk.api.datamodels._generated import DagRunType

    from dynalake.operators import compact
    from dynalake.operators.task import session

    params = {"days": [], "fold": False, "scrub": False}
    dag_run = SimpleNamespace(run_type=DagRunType(kind), logical_date=datetime(2019, 5, 26, 2, tzinfo=UTC))
    for module in (compact, session):
        monkeypatch.setattr(module, "get_current_context", lambda: {"dag_run": dag_run, "params": params})
    assert compact._request(Lake("dev", "123456789012", "us-east-1")).days == days
