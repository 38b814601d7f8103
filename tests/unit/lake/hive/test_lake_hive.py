"""The Hive tables: a partition has exactly its day's rows, or does not exist; manual changes are kept."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from botocore.exceptions import ClientError

from dynalake.days import coming_days
from dynalake.errors import ConflictError, NameTakenError
from dynalake.lake.catalog.iceberg import Change
from dynalake.lake.catalog.table import DYNAMODB_TABLE, SHOWN_RUN
from dynalake.lake.columns.column_names import name_of
from dynalake.lake.compaction.compact_options import CompactOptions
from dynalake.lake.compaction.day import compact_day
from dynalake.lake.compaction.widen import widen_table
from dynalake.lake.current.view_entries import write_views
from dynalake.lake.hive import parquet_table
from dynalake.lake.hive.hive import Partition, align_table, list_partitions
from dynalake.lake.hive.json_table import project_json, shown_prefix
from dynalake.lake.hive.parquet_table import DayFolder, PartitionPlan, plan_partitions, project_parquet
from dynalake.lake.tables.optimizers import TYPES, foreign_optimizers, switch_off_optimizers
from tests.support.kills import Act, calls_of, disturbed, is_write, kill, meets_others
from tests.support.memory.checks import check_partitions, columns, location, partitions
from tests.support.memory.receipts import DAY_1, DAY_2, Receipts

pytestmark = pytest.mark.slow

OPTIONS = CompactOptions()
TODAY = "20240101"
ODD = name_of("Odd Name")


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynalake.lake.catalog.commit.time.sleep", lambda _: None)


def prepared() -> Receipts:
    """Make two closed days, one of them compacted, the snapshot, and today."""
    lake = Receipts()
    lake.append("00000000", {"id": "a", "n": 0})
    lake.append(DAY_1, {"id": "a", "n": 1, "Odd Name": {"x": 1}})
    lake.append(DAY_1, {"id": "b", "l": [1]})
    lake.append(DAY_2, {"id": "b", "n": 2})
    lake.append(DAY_2, {"id": "c"})
    lake.append(TODAY, {"id": "d"})
    compact_day(lake.table, DAY_1, OPTIONS, lake.now)
    return lake


@pytest.fixture
def lake() -> Receipts:
    return prepared()


def run(lake: Receipts, **kwargs: Any) -> Any:
    return project_parquet(lake.table, OPTIONS, lake.now, **kwargs)


def test_closed_days_with_one_folder_and_the_snapshot_are_shown(lake: Receipts) -> None:
    done = run(lake)

    assert done.written == ("00000000", DAY_1)
    assert done.columns
    assert partitions(lake).keys() == {"00000000", DAY_1}
    check_partitions(lake)
    table = lake.glue.tables[lake.names.parquet_table]
    assert table["PartitionKeys"] == [{"Name": "dt", "Type": "string"}]
    assert columns(table["StorageDescriptor"]) == {
        "__operation": "string",
        "__sequence_number": "string",
        "__event_time": "bigint",
        "__expired": "boolean",
        "__types": "string",
        "__other": "map<string,string>",
        "id": "string",
        "n": "bigint",
        ODD: "struct<x:bigint>",
        "l": "array<bigint>",
    }
    assert run(lake) == run(lake, check=True) == parquet_table.Projected()


def test_each_partition_has_the_columns_of_its_files(lake: Receipts) -> None:
    """Trino refuses a partition without columns, and one with a type that contradicts the table's."""
    run(lake)

    assert columns(partitions(lake)["00000000"]["StorageDescriptor"]).keys() >= {"id", "n", "__operation"}
    assert "l" not in columns(partitions(lake)["00000000"]["StorageDescriptor"])
    assert columns(partitions(lake)[DAY_1]["StorageDescriptor"]).keys() >= {"id", "n", "l", ODD}


def test_a_changed_day_is_removed_until_it_is_compacted(lake: Receipts) -> None:
    run(lake)
    lake.append(DAY_1, {"id": "late"})

    assert run(lake).removed == (DAY_1,)
    assert DAY_1 not in partitions(lake)
    compact_day(lake.table, DAY_1, OPTIONS, lake.now)
    assert run(lake).written == (DAY_1,)
    check_partitions(lake)
    lake.optimize(DAY_1)
    assert run(lake).removed == (DAY_1,)


def test_a_day_whose_folder_has_files_that_are_not_live_is_not_shown(lake: Receipts) -> None:
    (file,) = lake.table.changes().files({DAY_1})
    stray = file.path.removeprefix(lake.names.uri("")).replace("00000-", "00001-")
    lake.s3.put_object(Bucket="b", Key=stray, Body=b"")

    assert run(lake).written == ("00000000",)
    lake.s3.delete_object(Bucket="b", Key=stray)
    assert run(lake).written == (DAY_1,)
    lake.s3.put_object(Bucket="b", Key=stray, Body=b"")
    assert run(lake).removed == ()
    assert run(lake, check=True).removed == (DAY_1,)


def test_a_day_with_rows_deleted_by_another_engine_is_not_shown(
    lake: Receipts, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(lake)
    (file,) = lake.table.changes().files({DAY_1})
    monkeypatch.setattr(parquet_table, "deleted_files", lambda head: {file.path})
    assert run(lake).removed == (DAY_1,)
    monkeypatch.setattr(parquet_table, "deleted_files", lambda head: None)
    assert run(lake).removed == ("00000000",)


def test_a_day_that_lost_a_file_is_noticed(lake: Receipts) -> None:
    """A DELETE of all rows of a file by another engine changes no folder's name."""
    lake.append(DAY_2, *({"id": f"{n}", "t": random.randbytes(400_000).hex()} for n in range(6)))
    compact_day(lake.table, DAY_2, CompactOptions(part_mb=1, row_group_mb=1), lake.now)
    run(lake)
    files = lake.table.changes().files({DAY_2})
    before = partitions(lake)[DAY_2]["Parameters"]["numFiles"]
    assert len(files) > 1
    lake.table.catalog.commit(lake.table.changes(), Change(remove=(files[0],)))

    assert before == str(len(files))
    assert run(lake).removed == (DAY_2,)


def test_manual_changes_are_kept(lake: Receipts) -> None:
    run(lake)
    entry = lake.glue.tables[lake.names.parquet_table]
    entry |= {"Description": "mine", "Owner": "me", "Retention": 7}
    entry["Parameters"]["team"] = "x"
    entry["StorageDescriptor"]["Columns"][6]["Comment"] = "the key"
    lake.append("20231201", {"id": "z", "later": True})

    done = run(lake)

    now = lake.glue.tables[lake.names.parquet_table]
    assert done.columns
    assert (now["Description"], now["Owner"], now["Retention"], now["Parameters"]["team"]) == ("mine", "me", 7, "x")
    assert now["StorageDescriptor"]["Columns"][6] == {"Name": "id", "Type": "string", "Comment": "the key"}
    assert now["StorageDescriptor"]["Columns"][-1] == {"Name": "later", "Type": "boolean"}
    assert not run(lake).columns


def test_columns_name_their_attributes_unless_they_have_a_comment(lake: Receipts) -> None:
    run(lake)
    storage = lake.glue.tables[lake.names.parquet_table]["StorageDescriptor"]
    comments = {c["Name"]: c.get("Comment") for c in storage["Columns"]}
    assert comments[ODD] == 'attribute "Odd Name"'
    assert comments["id"] is None


def test_a_hive_table_of_another_dynamodb_table_is_left_alone(lake: Receipts) -> None:
    lake.glue.create_table(
        DatabaseName="d", TableInput={"Name": lake.names.parquet_table, "Parameters": {DYNAMODB_TABLE: "Receipts"}}
    )
    with pytest.raises(NameTakenError, match="belongs to the DynamoDB table Receipts"):
        run(lake)


def test_when_a_type_widens_partitions_change_before_the_columns(lake: Receipts) -> None:
    run(lake)
    write_views(lake.table)
    lake.append("20231201", {"id": "z", "n": Decimal("2.5")})
    widen_table(lake.table, OPTIONS, lake.now)
    calls: list[str] = []
    lake.glue.on_call = lambda service, call, request: calls.append(call)

    run(lake)

    order = [c for c in calls if c in ("batch_update_partition", "update_table")]
    assert order == ["batch_update_partition", "update_table"]
    assert columns(lake.glue.tables[lake.names.parquet_table]["StorageDescriptor"])["n"] == "double"
    assert columns(partitions(lake)[DAY_1]["StorageDescriptor"])["n"] == "double"
    check_partitions(lake)


def test_a_new_field_of_a_struct_reaches_its_partitions(lake: Receipts) -> None:
    run(lake)
    lake.append(TODAY, {"id": "z", "Odd Name": {"x": 1, "y": "new"}})

    assert run(lake).written == (DAY_1,)

    assert columns(partitions(lake)[DAY_1]["StorageDescriptor"])[ODD] == "struct<x:bigint,y:string>"
    check_partitions(lake)


# -- faults and others -------------------------------------------------------------------------------------------------


def sweep(act: Act, chosen: Callable[[str], bool] = meets_others) -> None:
    """Project with an event before one of the chosen calls; then project again, undisturbed."""
    first = prepared()
    run(first)
    first.append(DAY_1, {"id": "late"})
    compact_day(first.table, DAY_1, OPTIONS, first.now)
    compact_day(first.table, DAY_2, OPTIONS, first.now)
    calls = calls_of(first, run)
    # Up to here, the last comparison notices what happens.
    compared = max(i for i, c in enumerate(calls) if c == "glue.get_partitions")
    last_read = max(i for i, c in enumerate(calls[:compared], 1) if c == "glue.get_table")
    for lake, number, succeeded in disturbed(first, run, act, chosen, above=1):
        check_partitions(lake, number, exact=succeeded and number <= last_read)
        run(lake)
        check_partitions(lake, number)
        compact_day(lake.table, DAY_1, OPTIONS, lake.now)
        run(lake)
        check_partitions(lake, number)
        assert {DAY_1, DAY_2, "00000000"} <= partitions(lake).keys(), number


def test_killed_anywhere() -> None:
    sweep(lambda lake: kill, is_write)


def test_conversions_between_any_two_calls() -> None:
    sweep(lambda lake: lambda *_: lake.append(DAY_1, {"id": "later"}))


def test_compactions_and_optimizers_between_any_two_calls() -> None:
    def act(lake: Receipts) -> Any:
        def both(*_: Any) -> None:
            lake.append(DAY_1, {"id": "later"})
            compact_day(lake.table, DAY_1, OPTIONS, lake.now)
            lake.optimize(DAY_2)
            compact_day(lake.table, DAY_2, OPTIONS, lake.now)

        return both

    sweep(act)


def test_another_run_between_any_two_calls() -> None:
    sweep(lambda lake: lambda *_: run(lake))


def test_a_partition_points_to_an_old_folder_without_reading_again(monkeypatch: pytest.MonkeyPatch) -> None:
    plans = 0

    def once(*args: Any, **kwargs: Any) -> PartitionPlan:
        nonlocal plans
        plans += 1
        return plan_partitions(*args, **kwargs) if plans == 1 else PartitionPlan((), ())

    monkeypatch.setattr(parquet_table, "plan_partitions", once)
    wrong = 0
    first = prepared()
    for number in range(1, 40, 3):
        lake, plans = first.copy(), 0

        def change(*_: Any, lake: Receipts = lake) -> None:
            lake.append(DAY_1, {"id": "later"})
            compact_day(lake.table, DAY_1, OPTIONS, lake.now)

        with lake.at_call(number, change) as calls:
            run(lake)
        if len(calls) > number:
            wrong += lake.folder_rows(location(partitions(lake)[DAY_1])) != lake.rows(DAY_1)
    assert wrong


# -- the plan ----------------------------------------------------------------------------------------------------------


def folder(day: str, name: str, *files: str) -> DayFolder:
    return DayFolder(Partition(day, f"s3://b/{name}/", {"numFiles": str(len(files))}), frozenset(files))


def test_only_folders_to_be_registered_are_listed() -> None:
    folders = {"1": folder("1", "a", "x"), "2": folder("2", "b", "y"), "3": folder("3", "c", "z")}
    partitions = {
        "1": folders["1"].partition,
        "2": Partition("2", "s3://b/old/", {}),
        "4": Partition("4", "s3://b/d/", {}),
    }
    listed: list[str] = []

    def read(request: Any) -> Any:
        listed.extend(request)
        return {day: frozenset({"y"} if day == "2" else {"other"}) for day in request}

    plan = plan_partitions(folders, partitions, read)

    assert listed == ["2", "3"]
    assert [p.day for p in plan.write] == ["2"]
    assert plan.remove == ("4",)
    assert plan_partitions(folders, partitions, read, check=True).remove == ("1", "4")


# -- {t}_json ----------------------------------------------------------------------------------------------------------


def lines(lake: Receipts) -> dict[str, dict[str, Any]]:
    return lake.glue.by_day(lake.names.json_table)


def test_raw_lines_are_text_under_their_own_keys(lake: Receipts) -> None:
    lake.append(DAY_2, {"id": "q", "userId": 1})

    done = project_json(lake.table, lake.now)

    table = lake.glue.tables[lake.names.json_table]
    assert set(columns(table["StorageDescriptor"]).values()) == {"string"}
    assert "__other" not in columns(table["StorageDescriptor"])
    serde = table["StorageDescriptor"]["SerdeInfo"]
    assert serde["SerializationLibrary"] == "org.openx.data.jsonserde.JsonSerDe"
    assert serde["Parameters"] == {
        "case.insensitive": "FALSE",
        "ignore.malformed.json": "TRUE",
        f"mapping.{ODD}": "Odd Name",
        f"mapping.{name_of('userId')}": "userId",
    }
    assert serde["Parameters"].items() <= table["Parameters"].items()
    assert lines(lake).keys() == {DAY_1, DAY_2, *coming_days(TODAY)}
    assert lines(lake)[DAY_1]["StorageDescriptor"]["SerdeInfo"] == serde
    assert columns(lines(lake)[DAY_1]["StorageDescriptor"]) == columns(table["StorageDescriptor"])
    assert location(lines(lake)[DAY_1]) == lake.names.uri(lake.names.raw_day(DAY_1))
    assert done.columns
    assert project_json(lake.table, lake.now) == parquet_table.Projected()


def test_days_are_registered_before_their_data_arrives(lake: Receipts) -> None:
    project_json(lake.table, lake.now)
    lake.clock.move(days=3)
    assert project_json(lake.table, lake.now).written == tuple(coming_days("20240104")[-3:])


def test_older_days_get_new_attributes_from_the_table(lake: Receipts) -> None:
    project_json(lake.table, lake.now)
    lake.append(DAY_2, {"id": "q", "NewOne": 1})

    assert project_json(lake.table, lake.now) == parquet_table.Projected(columns=True)
    table = lake.glue.tables[lake.names.json_table]
    assert "NewOne" in table["Parameters"].values()
    assert "NewOne" in table["StorageDescriptor"]["SerdeInfo"]["Parameters"].values()


def test_the_snapshot_is_from_the_shown_run(lake: Receipts) -> None:
    for number, name in enumerate(("one", "two"), 1):
        key = lake.names.snapshot_number(number)
        lake.s3.put_object(Bucket="b", Key=key, Body=json.dumps({"number": number, "name": name}).encode())
        lake.table.catalog.commit(lake.table.changes(), Change(properties={SHOWN_RUN: str(number)}))
        assert project_json(lake.table, lake.now).written[0] == "00000000"
        assert location(lines(lake)["00000000"]) == lake.names.uri(lake.names.snapshot_run(name))
    lake.table.catalog.commit(lake.table.changes(), Change(properties={SHOWN_RUN: "0"}))
    assert project_json(lake.table, lake.now).removed == ("00000000",)


def test_the_shown_run_is_found_by_its_number(lake: Receipts) -> None:
    assert shown_prefix(lake.table, lake.table.changes()) == ""
    lake.s3.put_object(Bucket="b", Key=lake.names.snapshot_number(3), Body=b'{"number": 3, "name": "scan-1"}')
    lake.table.catalog.commit(lake.table.changes(), Change(properties={SHOWN_RUN: "3"}))

    assert shown_prefix(lake.table, lake.table.changes()) == lake.names.snapshot_run("scan-1")


# -- Glue refuses ------------------------------------------------------------------------------------------------------


def test_a_table_that_others_keep_changing_is_given_up(lake: Receipts) -> None:
    run(lake)
    table = parquet_table.hive_table(lake.table, lake.table.changes())
    table = table.__class__(table.name, table.format, table.location, table.columns[:3])

    def first(service: str, call: str, request: dict[str, Any]) -> None:
        if call == "update_table":
            entry = lake.glue.tables[lake.names.parquet_table]
            entry["VersionId"] = str(int(entry["VersionId"]) + 1)

    lake.glue.on_call = first
    with pytest.raises(ConflictError, match="8 times in a row"):
        align_table(lake.table, table)


def test_partitions_are_read_with_their_parameters(lake: Receipts) -> None:
    run(lake)
    partitions = list_partitions(lake.table, lake.names.parquet_table)
    assert partitions[DAY_1].parameters["numRows"] == "2"
    assert partitions.keys() == {"00000000", DAY_1}


# -- another optimizer -------------------------------------------------------------------------------------------------


class Optimizers:
    """Glue's calls that no local AWS has. An entry has the configuration and its source."""

    def __init__(self) -> None:
        self.on: dict[tuple[str, str], dict[str, Any]] = {}
        self.of_catalog: dict[str, Any] | None = None
        self.unknown = False

    def get_table_optimizer(self, **request: Any) -> Any:
        assert request["CatalogId"] == "123456789012"
        if self.unknown:
            raise refusal("UnknownOperationException")
        configuration = self.on.get((request["TableName"], request["Type"]), self.of_catalog)
        if configuration is None:
            raise refusal("EntityNotFoundException")
        return {"TableOptimizer": {"type": request["Type"], "configuration": configuration}}

    def update_table_optimizer(self, **request: Any) -> None:
        if (request["TableName"], request["Type"]) not in self.on:
            raise refusal("EntityNotFoundException")
        self.create_table_optimizer(**request)

    def create_table_optimizer(self, **request: Any) -> None:
        self.on[request["TableName"], request["Type"]] = request["TableOptimizerConfiguration"]


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": code}}, "GetTableOptimizer")


@pytest.fixture
def optimizers(lake: Receipts, monkeypatch: pytest.MonkeyPatch) -> Optimizers:
    stub = Optimizers()
    for call in ("get_table_optimizer", "update_table_optimizer", "create_table_optimizer"):
        monkeypatch.setattr(lake.glue, call, getattr(stub, call), raising=False)
    return stub


def test_no_finding_without_an_optimizer(lake: Receipts, optimizers: Optimizers) -> None:
    assert foreign_optimizers(lake.table) == ()
    optimizers.unknown = True
    assert foreign_optimizers(lake.table) == ()
    assert switch_off_optimizers(lake.table) == ()


def test_an_optimizer_of_a_table_is_found_and_turned_off(lake: Receipts, optimizers: Optimizers) -> None:
    optimizers.on["receipts", "compaction"] = {"roleArn": "r", "enabled": True}
    optimizers.on["receipts_state", "retention"] = {"roleArn": "r", "enabled": False}

    (finding,) = foreign_optimizers(lake.table)
    assert (finding.kind, finding.table) == ("foreign-optimizer", "receipts")
    assert "compaction is on for receipts" in finding.what
    assert [o.type for o in switch_off_optimizers(lake.table)] == ["compaction"]
    assert optimizers.on["receipts", "compaction"] == {"roleArn": "r", "enabled": False}
    assert foreign_optimizers(lake.table) == ()


def test_an_optimizer_of_the_catalog_is_turned_off_for_the_tables(lake: Receipts, optimizers: Optimizers) -> None:
    optimizers.of_catalog = {"roleArn": "r", "enabled": True}

    assert len(foreign_optimizers(lake.table)) == 2 * len(TYPES)
    switch_off_optimizers(lake.table)

    assert foreign_optimizers(lake.table) == ()
    assert len(optimizers.on) == 6


def test_a_refusal_is_raised(lake: Receipts, optimizers: Optimizers, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**request: Any) -> Any:
        raise refusal("AccessDeniedException")

    monkeypatch.setattr(lake.glue, "get_table_optimizer", refuse)
    with pytest.raises(ClientError, match="AccessDenied"):
        foreign_optimizers(lake.table)


def test_an_optimizer_that_cannot_be_turned_off_stays_reported(
    lake: Receipts, optimizers: Optimizers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**request: Any) -> Any:
        raise refusal("AccessDeniedException")

    optimizers.on["receipts", "compaction"] = {"roleArn": "r", "enabled": True}
    monkeypatch.setattr(lake.glue, "update_table_optimizer", refuse)
    assert switch_off_optimizers(lake.table) == ()
    assert len(foreign_optimizers(lake.table)) == 1
