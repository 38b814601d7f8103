"""`dynalake_convert` as Airflow runs it: with nothing to do, with a broken table, with named days."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from dynalake.aws.clients import Clients
from dynalake.convert.finish import Finished
from dynalake.convert.plan import Batch, TablePlan
from dynalake.errors import SettingsError
from dynalake.lake.catalog.table import Table
from dynalake.lake.files.folders import Sums
from dynalake.lake.working.findings import Finding
from tests.support.airflow.small_lake import add_table, converted_rows, make_lake, put

Run = Callable[..., dict[str, Any]]


def test_with_nothing_due_one_task_runs(clients: Clients, run: Run, logs: Callable[[], str]) -> None:
    lake = make_lake(clients, "convertidle")
    add_table(clients, lake, "IDLE")
    add_table(clients, lake, "OLD", iceberg=False)

    states = run("dynalake_convert", environment="convertidle")

    assert states.pop("run") == "success", states
    assert states.pop("plan") == "success"
    assert set(states.values()) == {"skipped"}
    assert "OLD has no Iceberg table: run dynalake_setup for it." in logs()


def test_a_run_converts_every_table_and_a_broken_one_fails_alone(
    clients: Clients, run: Run, logs: Callable[[], str]
) -> None:
    lake = make_lake(clients, "convertdag")
    tables = {name: add_table(clients, lake, name) for name in ("BARE", "GONE", "ONE", "TWO")}
    for table in tables.values():
        put(table, "a", "ab", more="broken")
        put(table, "b", "b", ago=1)
    entry: Any = clients.glue.get_table(DatabaseName=lake.database, Name="bare")["Table"]
    bare: Any = {key: entry[key] for key in ("Name", "StorageDescriptor", "TableType")} | {"Parameters": {}}
    clients.glue.update_table(DatabaseName=lake.database, TableInput=bare)
    metadata = tables["GONE"].changes().metadata_location.removeprefix(tables["GONE"].names.uri(""))
    clients.s3.delete_object(Bucket=lake.bucket, Key=metadata)

    states = run("dynalake_convert", environment="convertdag")

    assert states["run"] == "failed"
    assert [states[f"convert[{n}]"] for n in range(4)] == ["success"] * 4, states
    assert [states[f"commit[{n}]"] for n in range(2)] == ["success"] * 2
    assert states["report"] == "failed"
    for name in ("ONE", "TWO"):
        assert converted_rows(tables[name]) == [("a", "x"), ("b", "x")]
    text = logs()
    assert "ONE, TWO converted: 4 rows of 4 raw objects; 2 rejected lines; 2 repeats; 2 faults" in text
    assert "BARE cannot be planned: CatalogError" in text
    assert "GONE cannot be planned: CatalogError" in text

    # Converted objects are not due; broken tables fail on their own, and say what to do.
    states = run("dynalake_convert", environment="convertdag")
    assert (states["run"], states["plan"]) == ("failed", "failed")
    states = run("dynalake_convert", environment="convertdag", tables=["ONE", "TWO"])
    assert (states["run"], states["plan"], states["report"]) == ("success", "success", "skipped")


def test_the_only_batch_of_a_table_is_committed_by_its_own_task(
    clients: Clients, run: Run, logs: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dynalake.operators.task.assets import emit

    lake = make_lake(clients, "convertalone")
    one, two = (add_table(clients, lake, name) for name in ("ONE", "TWO"))
    put(one, "a", "ab", more="broken")
    put(two, "a", "a")
    put(two, "b", "b", ago=1)

    states = run("dynalake_convert", environment="convertalone")

    assert states["run"] == "success", states
    assert [states[f"convert[{n}]"] for n in range(3)] == ["success"] * 3
    assert states["commit[0]"] == "success"
    assert "commit[1]" not in states
    assert converted_rows(one) == converted_rows(two) == [("a", "x"), ("b", "x")]
    assert "ONE, TWO converted: 4 rows of 3 raw objects; 1 rejected line" in logs()

    # A try that dies after its commit leaves nothing to do to the next one.
    put(one, "c", "c")
    calls: list[str] = []

    def die_once(table: Table, *kinds: str, **more: bool) -> None:
        calls.append(table.names.table)
        if len(calls) == 1:
            raise RuntimeError("the worker was lost")
        emit(table, *kinds, **more)

    monkeypatch.setattr("dynalake.operators.convert_tables.emit", die_once)
    states = run("dynalake_convert", environment="convertalone")

    assert (states["run"], states["commit"], calls) == ("success", "skipped", ["ONE", "ONE"]), states
    assert converted_rows(one) == [("a", "x"), ("b", "x"), ("c", "x")]


@pytest.mark.newest
def test_a_named_day_is_converted_again(clients: Clients, run: Run) -> None:
    lake = make_lake(clients, "convertagain")
    table = add_table(clients, lake, "ONE")
    day = put(table, "a", "ab", ago=40)
    run("dynalake_convert", environment="convertagain", days=[day])
    put(table, "a", "a", ago=40, value="corrected")

    states = run("dynalake_convert", environment="convertagain", days=[day], tables=["ONE"])

    assert states["run"] == "success"
    assert converted_rows(table) == [("a", "corrected"), ("b", "x")]
    states = run("dynalake_convert", environment="convertagain", days=["00000000"])
    assert (states["run"], states["plan"], states["report"]) == ("failed", "failed", "failed")


@pytest.mark.newest
def test_a_failed_batch_stops_no_other_and_fails_the_run(
    clients: Clients, run: Run, logs: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dynalake.convert import batch as module

    lake = make_lake(clients, "convertfault")
    tables = {name: add_table(clients, lake, name) for name in ("BAD", "FINE")}
    for table in tables.values():
        put(table, "a", "a")
        put(table, "b", "b", ago=1)
    convert = module.convert_batch

    def fail(table: Table, planned: Batch, *rest: Any) -> Any:
        if table.names.table == "BAD" and planned.number == 1:
            raise RecursionError("maximum recursion depth exceeded")
        return convert(table, planned, *rest)

    monkeypatch.setattr(module, "convert_batch", fail)
    states = run("dynalake_convert", environment="convertfault")

    assert states["run"] == "failed"
    assert sorted(states[f"convert[{n}]"] for n in range(4)) == ["failed", "success", "success", "success"]
    assert [states[f"commit[{n}]"] for n in range(2)] == ["success"] * 2
    assert (converted_rows(tables["BAD"]), converted_rows(tables["FINE"])) == ([("a", "x")], [("a", "x"), ("b", "x")])
    assert "Not converted: 1 batch of BAD" in logs()


# -- without AWS ---------------------------------------------------------------------------------------------------


def planned(table: str, count: int, *, again: bool = False) -> TablePlan:
    batches = (Batch(table, "p", n, "20240101", "f", 0, "u", None, (), again) for n in range(count))
    return TablePlan(table, tuple(batches))


def test_every_table_gets_its_turn_if_there_are_more_batches_than_airflow_maps() -> None:
    from dynalake.operators.convert_tables import _choose

    chosen = _choose([planned("A", 5), planned("B", 1), planned("C", 2)], 5)
    assert [(b.table, b.number) for b in chosen] == [("A", 0), ("B", 0), ("C", 0), ("A", 1), ("C", 1)]
    chosen = _choose([planned("A", 3), planned("B", 2, again=True)], 3)
    assert [(b.table, b.number) for b in chosen] == [("B", 0), ("B", 1), ("A", 0)]
    with pytest.raises(SettingsError, match="The named days have 2 batches"):
        _choose([planned("B", 2, again=True)], 1)


def test_the_first_line_of_the_note_says_how_the_run_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    from dynalake.operators import convert_tables
    from dynalake.operators.task import each_table, session

    pushed: dict[str, Any] = {}
    pulled: dict[str, Any] = {"sentences": ["B: 3 more objects left to the next run."], "faults": [None]}
    ti = SimpleNamespace(xcom_push=pushed.__setitem__, xcom_pull=lambda task_ids, key: pulled[key])
    monkeypatch.setattr(session, "parameters", dict)
    for module in (convert_tables, each_table, session):
        monkeypatch.setattr(module, "get_current_context", lambda: {"ti": ti})
    finding = Finding("raw deleted", "A", "2 raw objects were deleted", "restore them")
    finished = Finished("A", 2, 5, Sums(10, 6, 1, 2, 0, 1), {"not JSON": 1}, misfits=("v",), findings=(finding,))
    two = Finished("B", 1, 1, Sums(3, 3), waiting=(("20240101", 2, "others were first"),))
    batches: list[dict[str, Any]] = [{"table": "A", "alone": True}, {"table": "B", "alone": False}]
    converted: list[dict[str, Any]] = [{"committed": finished.to_dict()}, {"table": "B", "rows": 3, "rejected": 0}]
    report, work = convert_tables.report.function, [{"table": "B"}]

    returned = report(batches, work, converted, [two.to_dict()])

    assert returned == {"tables": 2, "rows": 9}
    assert pushed["outcome"]["text"] == (
        "A, B converted: 9 rows of 6 raw objects; 1 rejected line; 2 repeats; 1 duplicate; "
        "2 objects left to the next run"
    )
    assert pushed["note"].split("\n\n") == [
        "B: 3 more objects left to the next run.",
        "A: 2 raw objects were deleted. What to do: restore them.",
        "A: values that do not fit their columns yet are in \\_\\_other: v.",
        "B dt=20240101: 2 objects left to the next run: others were first.",
    ]
    failed = Finished.from_dict({**two.to_dict(), "failed": [1]})
    with pytest.raises(Exception, match="C could not be committed; A could not be committed; Not converted: 1 batch"):
        report(batches, [*work, {"table": "C"}], converted[1:], [failed.to_dict()])
