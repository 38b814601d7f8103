"""`dynalake_compact` as Airflow runs it: all tables of a lake, one that is broken, days that are forced."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from dynalake.catalog.partitions import list_partitions
from dynalake.catalog.tables import read_table
from dynalake.compact.manifest import ConvertedPartition
from dynalake.compact.plan import WRITTEN
from tests.unit.compact.lake import TestLake

from dynalake.clients import Clients
from dynalake.names import Lake, TableNames
from tests.airflow.small_lake import add_table, make_lake

DAYS = ["20240101", "20240102"]
Run = Callable[..., dict[str, Any]]


def version(table: TestLake, day: str) -> str:
    return list_partitions(table.clients, table.names, table.names.typed_table)[day].location


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

    clients.glue.delete_table(DatabaseName=lake.database, Name=tables[1].names.typed_table)
    force = {"environment": "compactdag", "days": DAYS[:1], "force": True, "sort_by": ["n", "id"]}
    done = run("dynalake_compact", **force)
    # The broken table fails the run; the other is converted again all the same.
    assert (done["run"], done["convert[0]"], done["publish[0]"]) == ("failed", "success", "success"), done
    assert done["publish[1]"] == "failed"
    shown = list_partitions(clients, tables[0].names, tables[0].names.typed_table)
    assert ['"sort_by": ["n", "id"]' in shown[day].parameters[WRITTEN] for day in DAYS] == [True, False]
    after = [version(tables[0], day) for day in DAYS]
    assert (after[0] != before[0], after[1]) == (True, before[1])


def test_tables_that_are_broken_in_any_way_fail_alone_and_by_name(
    clients: Clients, run: Run, said: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Glue parameters that somebody removed, all of them or one; a fault in planning; settings that are not JSON, and,
    which is no fault, those of a newer version."""
    from dynalake.compact import plan

    lake = make_lake(clients, "brokendag")
    names = ("BARE", "DEEP", "FINE", "LOST-SCHEMA", "NEWER")
    tables = {name: add_table(clients, lake, name, DAYS) for name in names}
    for table in tables.values():
        table.put(DAYS[0], "1.gz", table.lines([{"id": {"S": "x"}, "n": {"N": "1"}}]))
    for name, kept in (("BARE", ()), ("LOST-SCHEMA", ("dynalake.table",))):
        found = read_table(clients, lake.database, tables[name].names.typed_table)
        assert found is not None
        left = {key: value for key, value in found.parameters.items() if key in kept}
        bare: Any = {**found.table, "Parameters": left}
        clients.glue.update_table(DatabaseName=lake.database, TableInput=bare)
    newer = json.dumps({"table": "NEWER", "of_a_newer_version": {"x": 1}})
    for name, settings in (("NEWER", newer), ("DEEP", "{not JSON")):
        parameter = lake.table(name).settings_parameter
        clients.ssm.put_parameter(Name=parameter, Type="String", Value=settings, Overwrite=True)

    def plan_table(found: Clients, names: TableNames, *rest: Any, **named: Any) -> Any:
        if names.table == "DEEP":
            raise RecursionError("maximum recursion depth exceeded")
        return planned(found, names, *rest, **named)

    planned = plan.plan_table
    monkeypatch.setattr(plan, "plan_table", plan_table)
    done = run("dynalake_compact", environment="brokendag")
    published = {name: done[f"publish[{number}]"] for number, name in enumerate(names)}
    assert published == {
        "BARE": "failed",
        "DEEP": "failed",
        "FINE": "success",
        "LOST-SCHEMA": "failed",
        "NEWER": "success",
    }
    assert (done["tables"], done["plan"], done["widen.plan_widened"]) == ("success",) * 3
    assert [done.get(f"convert[{number}]") for number in range(3)] == ["success", "success", None]
    assert done["run"] == "failed"
    for name in ("FINE", "NEWER"):
        assert version(tables[name], DAYS[0]) != tables[name].names.uri(tables[name].names.parquet_prefix)
    for fault in (
        "BARE cannot be registered: NameTakenError: BARE needs the Glue name",
        "LOST-SCHEMA cannot be registered: KeyError: 'dynalake.schema'",
        "DEEP cannot be planned: RecursionError: maximum recursion depth exceeded",
    ):
        assert f"TerminalError: {fault}" in said()


def test_a_run_of_a_date_to_come_does_not_close_today(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow starts a run of any date at once."""
    from dynalake.operators import compact

    for at in (datetime(2100, 1, 1, tzinfo=UTC), datetime(2019, 5, 26, 2, tzinfo=UTC)):
        asked = SimpleNamespace(data_interval_end=at, run_after=at)
        monkeypatch.setattr(compact, "get_current_context", lambda asked=asked: {"dag_run": asked})
        before = datetime.now(UTC)
        assert compact._now() == at if at < before else before <= compact._now() <= datetime.now(UTC)


@pytest.mark.parametrize("dag", ["dynalake_compact", "dynalake_watch"])
def test_a_scheduled_run_before_the_first_setup_succeeds(run: Run, dag: str) -> None:
    """It has nothing to do, and its note says why, which another test looks at."""
    assert run(dag, environment="nowhere")["run"] == "success"


@pytest.mark.parametrize(
    ("kind", "days", "force"), [("backfill", ["20190525"], "run 7"), ("scheduled", [], ""), ("manual", [], "")]
)
def test_a_run_of_a_backfill_is_about_one_day(
    monkeypatch: pytest.MonkeyPatch, kind: str, days: list[str], force: str
) -> None:
    """Under the type that Airflow gives to a task, which is text and enum at once."""
    from airflow.sdk.api.datamodels._generated import DagRunType

    from dynalake.operators import compact, session

    files = {"format": "parquet", "codec": "zstd", "part_mb": 256, "sort_by": []}
    params = {"days": [], "force": False, "max_quarantined": 0, **files}
    at = datetime(2019, 5, 26, 2, tzinfo=UTC)
    asked = SimpleNamespace(run_type=DagRunType(kind), data_interval_end=at, run_after=at)
    for module in (compact, session):
        monkeypatch.setattr(
            module, "get_current_context", lambda: {"dag_run": asked, "params": params, "run_id": "run 7"}
        )
    assert compact._days(Lake("dev", "123456789012", "us-east-1")) == (days, force)


def test_the_summary_adds_up_what_is_in_quarantine(monkeypatch: pytest.MonkeyPatch) -> None:
    from dynalake.operators import compact, session

    pushed: dict[str, str] = {}
    monkeypatch.setattr(session, "get_current_context", lambda: {"ti": SimpleNamespace(xcom_push=pushed.__setitem__)})
    one = ConvertedPartition("A", "20240101", "", "", 2, 11, 6, 1, 1, 1, 2, 1, 99, {"not JSON": 2})
    two = replace(one, day="20240102", quarantined=3, rows=5, reasons={"not JSON": 2, "gzip is cut short": 1})
    clean = replace(one, table="B", quarantined=0, rows=8, reasons={})
    found = compact.report.function([one.to_dict(), clean.to_dict()], [two.to_dict()])
    counted = {"objects": 6, "lines": 33, "rows": 19, "duplicates": 3, "repeats": 3, "canaries": 3, "quarantined": 5}
    reasons = {"not JSON": 4, "gzip is cut short": 1}
    assert found == {"partitions": 3, **counted, "parts": 3, "size": 297, "reasons": reasons}
    assert pushed == {"note": "5 of 33 lines are in quarantine: 4 × not JSON, 1 × gzip is cut short"}
    pushed.clear()
    compact.report.function([clean.to_dict()], [])
    assert pushed == {}
