"""Conversions with the real reader and state: on AWS in memory, and on moto to show that both behave alike."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import boto3
import pytest
from moto import mock_aws

from dynalake.aws.clients import Clients
from dynalake.convert.batch import read_raw
from dynalake.convert.finish import finish_table, read_results
from dynalake.convert.plan import ConvertLimits
from dynalake.convert.snapshot import plan_snapshot, show_snapshot
from dynalake.errors import LedgerError
from dynalake.lake.catalog.iceberg import Change as Commit
from dynalake.lake.catalog.iceberg import Head
from dynalake.lake.catalog.table import BOUND, schema_of
from dynalake.lake.columns.pins import Pins
from dynalake.lake.compaction.compact_options import CompactOptions
from dynalake.lake.compaction.day import compact_day
from dynalake.lake.compaction.widen import Widened, widen_table
from dynalake.lake.current.snapshot import number_run
from dynalake.lake.files.read import read_rows
from dynalake.lake.tables.grow import grow_schema, pin_columns
from dynalake.lake.types.budget import BUDGET
from dynalake.lake.types.union import TEXT
from dynalake.lake.upkeep.scrub import scrub
from dynalake.record.change import encode_change, snapshot_encoder
from dynalake.record.key import ItemKey, KeyAttribute
from tests.support.memory.convert_lake import DAY_MS, ConvertLake
from tests.support.memory.state_lake import view_text
from tests.support.memory.steps import use_seed
from tests.support.strict_glue import StrictGlue

NUMBERED = ItemKey(KeyAttribute("id", "S"), KeyAttribute("n", "N"))


class Flow(ConvertLake):
    """A lake in which only AWS is not real."""

    def __init__(self, clients: Clients | None = None) -> None:
        super().__init__(clients)
        self.read = read_raw
        self.sequence = 0

    def lines(self, *images: dict[str, Any], operation: str = "INSERT", made: int | None = None) -> list[str]:
        lines = []
        for image in images:
            self.sequence += 1
            time = self.now if made is None else made
            number = str(self.sequence)
            lines.append(encode_change(image, operation=operation, sequence_number=number, event_time=time))
        return lines

    def finish(self, plan: Any, table: Any = None) -> Any:
        table, name = table or self.table, plan.batches[0].plan
        results = read_results(table, name, [batch.number for batch in plan.batches])
        return finish_table(table, name, results, self.limits, lambda: self.clock.moment)

    def found(self, head: Head, *columns: str) -> list[tuple[Any, ...]]:
        """Return these columns of all live rows, ordered by sequence number."""
        rows = [r for table in read_rows(head, [f for f in head.files() if f.rows]) for r in table.to_pylist()]
        return [tuple(r[c] for c in columns) for r in sorted(rows, key=lambda r: str(r["__sequence_number"]))]


def on_moto() -> Flow:
    session = boto3.Session("k", "s", region_name="eu-west-1")
    services: dict[str, Any] = {"s3": session.client("s3"), "glue": StrictGlue(session.client("glue"))}
    flow = Flow(Clients(lambda service: services[service]))
    where: Any = {"LocationConstraint": "eu-west-1"}
    services["s3"].create_bucket(Bucket=flow.names.lake.bucket, CreateBucketConfiguration=where)
    services["glue"].create_database(DatabaseInput={"Name": flow.names.lake.database})
    return flow


@pytest.fixture(params=["memory", pytest.param("moto", marks=pytest.mark.slow)])
def flow(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flow]:
    if request.param == "memory":
        use_seed(monkeypatch, 1)
        yield Flow()
    else:
        with mock_aws():
            yield on_moto()


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Flow:
    use_seed(monkeypatch, 1)
    return Flow()


def item(id: str, **attributes: Any) -> dict[str, Any]:
    return {"id": {"S": id}, **attributes}


def other(head: Head, flow: Flow) -> list[dict[str, str]]:
    return [dict(row[0] or ()) for row in flow.found(head, "__other")]


def test_landed_changes_become_typed_rows_once(flow: Flow) -> None:
    flow.create(NUMBERED)
    digits = "12345678901234567890.123456789012345678"
    first = flow.lines(
        item("a", n={"N": "1"}, price={"N": digits}, tags={"SS": ["y", "x"]}),
        item("a", n={"N": "2.50"}, price={"N": "3"}, meta={"M": {"k": {"L": [{"N": "1"}, {"NULL": True}]}}}),
    )
    flow.put(flow.today, "one", [*first, "broken", '{"__operation":"CANARY","__canary_id":"x"}'])
    done = flow.run()
    assert done is not None
    assert (done.sums.lines, done.sums.rows, done.sums.rejected, done.sums.canaries) == (4, 2, 1, 1)
    assert done.reasons == {"not JSON": 1}
    assert flow.run() is None

    flow.put(flow.day(1), "again", first)
    flow.put(flow.today, "two", [first[0], *flow.lines(item("b", n={"N": "7"}), operation="REMOVE")])
    done = flow.run()

    assert done is not None
    assert (done.sums.rows, done.sums.repeats, done.waiting) == (1, 3, ())
    head = flow.table.changes()
    assert flow.found(head, "id", "price", "tags", "__operation", "dt") == [
        ("a", Decimal(digits), ["x", "y"], "INSERT", flow.today),
        ("a", Decimal(3), None, "INSERT", flow.today),
        ("b", None, None, "REMOVE", flow.today),
    ]
    assert len({key for (key,) in flow.found(head, "__key")}) == 3
    assert flow.run() is None


def test_a_large_batch_is_written_by_threads_in_files_of_ranges_of_keys(
    memory: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("convert.batch", "lake.working.threads"):
        monkeypatch.setattr(f"dynalake.{module}.WORTH", 1 << 10)
    memory.create()
    memory.put(memory.today, "one", memory.lines(*(item(f"{n * 7 % 100:03}", value={"N": str(n)}) for n in range(100))))

    done = memory.run()

    assert done is not None
    assert done.sums.rows == 100
    head = memory.table.changes()
    first, second = sorted((file.bounds("id") or ("", ""), file.rows) for file in head.files())
    assert first == (("000", "049"), 50)
    assert second == (("050", "099"), 50)
    assert memory.found(head, "id", "value") == [(f"{n * 7 % 100:03}", n) for n in range(100)]


def test_late_changes_are_in_the_state_and_in_the_changes(flow: Flow) -> None:
    flow.create()
    flow.table.catalog.commit(flow.table.changes(), Commit(properties={BOUND: str(flow.now)}))
    late = flow.lines(item("a", v={"S": "old"}), item("a", v={"S": "new"}), item("b", v={"S": "gone"}))
    late += flow.lines(item("b"), operation="REMOVE")
    flow.put(flow.today, "one", [*late, *flow.lines(item("a", v={"S": "open"}), made=flow.now + 1)])

    done = flow.run()

    assert done is not None
    assert (done.late, done.waiting, done.sums.rows) == (5, (), 5)
    assert flow.found(flow.table.items(), "id", "v", "__deleted") == [("a", "new", False), ("b", None, True)]
    assert [v for (v,) in flow.found(flow.table.changes(), "v")] == ["old", "new", "gone", None, "open"]


def test_a_named_day_is_read_again_by_its_own_reader(flow: Flow) -> None:
    flow.create()
    lines = flow.lines(item("a", v={"S": "x"}), item("b", v={"S": "y"}))
    flow.put(flow.today, "one", lines)
    flow.run()
    flow.put(flow.today, "one", [lines[0].replace('"v":"x"', '"v":"z"'), "broken"])

    done = flow.run([flow.today])

    assert done is not None
    assert flow.found(flow.table.changes(), "id", "v") == [("a", "z"), ("b", "y")]
    assert (done.sums.rejected, done.waiting) == (1, ())
    assert flow.run() is None


def test_a_deleted_object_is_reported_and_is_due_when_it_comes_back(flow: Flow) -> None:
    flow.create()
    key = flow.put(flow.today, "one", flow.lines(item("a")))
    flow.put(flow.today, "two", flow.lines(item("b")))
    plan = flow.plan()
    s3, bucket = flow.table.clients.s3, flow.names.lake.bucket
    body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    s3.delete_object(Bucket=bucket, Key=key)
    for batch in plan.batches:
        flow.convert(batch)

    done = flow.finish(plan)

    assert [(f.kind, f.count, key in f.what) for f in done.findings] == [("raw deleted", 1, True)]
    assert flow.found(flow.table.changes(), "id") == [("b",)]
    assert flow.run() is None
    s3.put_object(Bucket=bucket, Key=key, Body=body)
    assert flow.run() is not None
    assert flow.found(flow.table.changes(), "id") == [("a",), ("b",)]


def test_rows_are_kept_whatever_happens_to_their_raw_objects(memory: Flow) -> None:
    """In the next runs, in a run that names the day, when the day is compacted, and when its types widen."""
    memory.create()
    day = memory.day(2)
    time = memory.now - 2 * DAY_MS
    keys = []
    for name, number in (("a", "1"), ("b", "2"), ("c", "1.5")):
        keys.append(memory.put(day, name, memory.lines(item(name, n={"N": number}), made=time)))
        memory.run()
    prefix = memory.names.snapshot_run("r")
    encode = snapshot_encoder(memory.now)
    for name in ("x", "y"):
        body = gzip.compress(encode(item(name, n={"N": "1"})))
        memory.s3.put_object(Bucket=memory.names.lake.bucket, Key=f"{prefix}{name}.gz", Body=body)
    (batch,) = plan_snapshot(memory.table, prefix, datetime.now(UTC)).batches
    memory.convert(batch)
    show_snapshot(memory.table, number_run(memory.table, "r"), batch.plan, [0])
    for key in (keys[0], keys[2], f"{prefix}x.gz"):
        memory.s3.delete_object(Key=key)

    assert memory.run() is None
    memory.run([day])
    compacted = compact_day(memory.table, day, CompactOptions(), lambda: memory.clock.moment)
    widened = widen_table(memory.table, CompactOptions(), lambda: memory.clock.moment)
    report = scrub(memory.table, lambda: memory.clock.moment)

    assert (compacted.rows, widened.columns) == (3, {"n": ("bigint", "double")})
    assert sorted(memory.found(memory.table.changes(), "id", "n", "dt")) == [
        ("a", 1, day), ("b", 2, day), ("c", 1.5, day), ("x", 1, "00000000"), ("y", 1, "00000000"),
    ]  # fmt: skip
    assert {f.day: f.count for f in report.findings if f.kind == "raw-gone"} == {"00000000": 1, day: 2}


# -- columns -------------------------------------------------------------------------------------------------------


def test_the_second_of_two_runs_with_a_new_attribute_uses_its_column(memory: Flow) -> None:
    """Values that do not fit it are exact in `__other`."""
    memory.create()
    memory.limits = ConvertLimits(batch_objects=1)
    memory.put(memory.today, "one", memory.lines(item("a", v={"N": "1"})))
    memory.put(memory.today, "two", memory.lines(item("b", v={"S": "text"}, w={"BOOL": True}), made=memory.now + 9))
    plan = memory.plan()
    first = [True]

    def others_first(service: str, call: str, request: dict[str, Any]) -> None:
        if call == "update_table" and first:
            first.clear()
            memory.convert(plan.batches[0], memory.other())

    memory.glue.on_call = others_first
    memory.convert(plan.batches[1], memory.other())
    memory.glue.on_call = lambda service, call, request: None
    done = memory.finish(plan)

    head = memory.table.changes()
    assert (done.batches, done.waiting, done.misfits) == (2, (), ("v",))
    assert memory.found(head, "id", "v", "w") == [("a", 1, None), ("b", None, True)]
    assert other(head, memory) == [{}, {"v": '"text"'}]


def test_fields_of_structs_are_added_when_they_appear(memory: Flow) -> None:
    memory.create()
    for number, meta in enumerate(({"a": {"N": "1"}}, {"b": {"S": "x"}}, {"a": {"S": "no number"}})):
        memory.put(memory.today, f"o{number}", memory.lines(item(f"i{number}", meta={"M": meta})))
        memory.run()

    head = memory.table.changes()
    assert memory.found(head, "meta") == [({"a": 1, "b": None},), ({"a": None, "b": "x"},), (None,)]
    assert other(head, memory)[2] == {"meta": '{"a":"no number"}'}


def test_closed_columns_change_only_when_a_run_allows_it(memory: Flow) -> None:
    """Nothing stops or is lost in the meantime, and afterwards they are closed again."""
    memory.create()
    memory.put(memory.today, "one", memory.lines(item("a", v={"N": "1"}, m={"M": {"x": {"N": "1"}}})))
    memory.run()
    assert pin_columns(memory.table, Pins(never=("secret",), closed=True))
    schema = memory.table.changes().schema
    new = {"v": {"N": "1.5"}, "m": {"M": {"y": {"S": "z"}}}, "w": {"BOOL": True}, "secret": {"S": "s"}}
    memory.put(memory.today, "two", memory.lines(item("b", **new)))

    done = memory.run()

    assert done is not None
    assert [(f.kind, f.count) for f in done.findings] == [("schema-refused", 3)]
    assert "wait in __other: m, v, w" in done.findings[0].what
    head = memory.table.changes()
    assert head.schema == schema
    assert memory.found(head, "id", "v", "m") == [("a", 1, {"x": 1}), ("b", None, None)]
    everything = {"m": '{"y":"z"}', "v": "1.5", "w": "true", "secret": '"s"'}
    assert other(head, memory) == [{}, everything]
    moment = lambda: memory.clock.moment  # noqa: E731
    compact_day(memory.table, memory.today, CompactOptions(), moment)
    assert widen_table(memory.table, CompactOptions(), moment) == Widened()
    assert other(memory.table.changes(), memory) == [{}, everything]

    widened = widen_table(memory.table, CompactOptions(), moment, allow=True)

    assert widened.columns == {"v": ("bigint", "double")}
    assert widened.lifted == {"m": 1, "v": 1, "w": 1}
    head = memory.table.changes()
    found = [("a", 1.0, {"x": 1, "y": None}, None), ("b", 1.5, {"x": None, "y": "z"}, True)]
    assert memory.found(head, "id", "v", "m", "w") == found
    assert other(head, memory) == [{}, {"secret": '"s"'}]
    assert schema_of(head).pins.closed
    memory.put(memory.today, "three", memory.lines(item("c", z={"N": "1"})))
    memory.run()
    assert memory.table.changes().schema == head.schema
    assert view_columns(memory) == ["id", "m", "v", "w"]


def test_the_views_have_the_columns_added_by_any_run(memory: Flow) -> None:
    """Also columns of a run that died before it wrote the views, and of a backfill."""
    memory.create()
    memory.put(memory.today, "one", memory.lines(item("a", v={"N": "1"})))
    memory.run()
    assert view_columns(memory) == ["id", "v"]

    grow_schema(memory.table, memory.table.changes(), {"w": TEXT})
    memory.put(memory.today, "two", memory.lines(item("a", v={"N": "2"})))
    memory.run()
    assert view_columns(memory) == ["id", "v", "w"]

    prefix = memory.names.snapshot_run("r")
    line = snapshot_encoder(memory.now)(item("b", x={"BOOL": True}))
    memory.s3.put_object(Bucket=memory.names.lake.bucket, Key=f"{prefix}0.gz", Body=gzip.compress(line))
    (batch,) = plan_snapshot(memory.table, prefix, datetime.now(UTC)).batches
    memory.convert(batch)
    assert show_snapshot(memory.table, number_run(memory.table, "r"), batch.plan, [0]).shown
    assert view_columns(memory) == ["id", "v", "w", "x"]


def test_a_snapshot_with_missing_objects_is_not_shown(memory: Flow) -> None:
    memory.create()
    prefix, bucket = memory.names.snapshot_run("r"), memory.names.lake.bucket
    encode = snapshot_encoder(memory.now)
    for name in ("a", "b"):
        memory.s3.put_object(Bucket=bucket, Key=f"{prefix}{name}.gz", Body=gzip.compress(encode(item(name))))
    (batch,) = plan_snapshot(memory.table, prefix, datetime.now(UTC)).batches
    memory.s3.delete_object(Bucket=bucket, Key=f"{prefix}b.gz")
    memory.convert(batch)
    with pytest.raises(LedgerError, match=r"1 objects of the backfill .* the first one .*/b\.gz"):
        show_snapshot(memory.table, number_run(memory.table, "r"), batch.plan, [0])
    assert not [f for f in memory.table.changes().files() if f.partition == "00000000"]


def view_columns(flow: Flow) -> list[str]:
    """Return the attributes' columns of `{t}_current`."""
    columns = flow.glue.tables[flow.names.current_view]["StorageDescriptor"]["Columns"]
    return [c["Name"] for c in columns if not c["Name"].startswith("__")]


@pytest.mark.parametrize(
    ("numbers", "window"), [(("1", "1.0"), '"__key", "id", "n"'), (("-9E+100", f"-9{'0' * 100}"), '"__key", "id"')]
)
def test_an_item_is_the_same_however_its_number_is_written(memory: Flow, numbers: tuple[str, str], window: str) -> None:
    memory.create(NUMBERED)
    memory.put(memory.today, "one", memory.lines(*(item("a", n={"N": number}) for number in numbers)))
    memory.run()

    assert len({*memory.found(memory.table.changes(), "__key")}) == 1
    for view in (memory.names.current_view, memory.names.history_view):
        text = view_text(memory.glue.tables[view])
        assert f"(PARTITION BY {window} ORDER BY" in text


def test_an_item_of_3600_attributes_is_converted_within_the_budget(memory: Flow) -> None:
    memory.create()
    many = {f"attribute_{n:04d}": {"N": str(n)} for n in range(3600)}
    memory.put(memory.today, "one", memory.lines(item("a", **many), item("b", v={"S": "x"})))

    done = memory.run()

    assert done is not None
    assert (done.batches, done.waiting, done.sums.rows) == (1, (), 2)
    head = memory.table.changes()
    schema = schema_of(head)
    assert len(schema.columns) <= BUDGET.columns
    (row,) = [r for t in read_rows(head, head.files()) for r in t.to_pylist() if r["id"] == "a"]
    left = dict(row["__other"])
    for n in range(3600):
        column = schema.column(f"attribute_{n:04d}")
        value = json.loads(left[f"attribute_{n:04d}"]) if column is None else row[column.name]
        assert value == n
    assert len(left) > 1000
    memory.put(memory.today, "two", memory.lines(item("c", v={"S": "y"})))
    assert memory.run() is not None
    assert memory.found(memory.table.changes(), "id") == [("a",), ("b",), ("c",)]
    # A file has only the columns that it has values of.
    assert min(f.size for f in memory.table.changes().files()) < 10_000


def test_a_table_without_rows_passes_every_step(memory: Flow) -> None:
    memory.create()
    assert memory.run() is None
    memory.put(memory.today, "one", ["broken"])

    done = memory.run()

    assert done is not None
    assert (done.sums.rejected, done.sums.rows, done.batches) == (1, 0, 1)
    assert memory.found(memory.table.changes(), "id") == []
    assert memory.run() is None
