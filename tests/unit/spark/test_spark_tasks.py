"""What a task of Spark gives is the same, to the byte, with the compiled reader and with the exact one."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby, islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pytest
from botocore.exceptions import ClientError
from dynalake.compact.look import Look
from dynalake.convert.rows.order import check_order
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.compact.test_compact_compiled import EXAMPLES, ODD, foreign, small

from dynalake.clients import Clients
from dynalake.convert.options import CompactOptions
from dynalake.convert.read import blocks
from dynalake.convert.read.records import Record, RecordParser
from dynalake.errors import SettingsError
from dynalake.lake.schema import TableSchema
from dynalake.names import Lake
from dynalake.record.change import encode_change
from dynalake.record.key import ItemKey, KeyAttribute
from dynalake.spark.convert import observed_columns
from dynalake.spark.order import choose_bounds, range_of
from dynalake.spark.summary import Summary
from dynalake.spark.tasks import ReadObjects, WriteRanges, last_of_each
from infra.local.demo.receipts import generate_receipts
from tests.unit.record.strategies import ITEMS, TEXT, numbers

NAMES = Lake("dev", "123456789012", "us-east-1").table("RECEIPTS")
OPTIONS = CompactOptions(max_struct_fields=3, row_group_mb=1)
TEXT_KEY = ItemKey(KeyAttribute("id", "S"))
VALUES: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "S": TEXT.map(lambda text: {"S": text}),
    "N": st.one_of(numbers(), st.integers(-3, 3).map(str), st.integers(-(2**63), 2**63).map(str)).map(
        lambda text: {"N": text}
    ),
    "B": st.binary(max_size=4).map(lambda data: {"B": data}),
    "BOOL": st.booleans().map(lambda flag: {"BOOL": flag}),
}


class Store:
    """S3, as far as tasks use it."""

    def __init__(self, bodies: dict[str, bytes]) -> None:
        self.bodies = bodies

    def get_object(self, *, Bucket: str, Key: str, IfMatch: str = "", Range: str = "") -> dict[str, Any]:
        if Key not in self.bodies:
            raise ClientError({"Error": {"Code": "NoSuchKey"}}, "GetObject")
        start, end = map(int, Range.removeprefix("bytes=").split("-")) if Range else (0, len(self.bodies[Key]))
        return {"Body": io.BytesIO(self.bodies[Key][start : end + 1])}

    def upload_file(self, path: str, bucket: str, key: str) -> None:
        self.bodies[key] = Path(path).read_bytes()


class Read(NamedTuple):
    """What the tasks that read give: one row per record in Spark's order, and what they tell the driver."""

    rows: list[tuple[bytes, bytes, int, bytes]]
    summary: dict[str, Any]


def read(bodies: Sequence[bytes], table: TableSchema, options: CompactOptions, compiled: bool) -> Read:
    """One task over all objects; an empty one was deleted."""
    keys = [f"{i:03d}" for i in range(len(bodies))]
    clients = Clients(lambda _: Store({k: b for k, b in zip(keys, bodies, strict=True) if b}))
    asked = json.dumps([[k, "etag", len(b), 0] for k, b in zip(keys, bodies, strict=True)])
    task = ReadObjects(lambda: clients, NAMES, table, options, 200, compiled)
    found = list(task([pa.RecordBatch.from_pydict({"objects": [asked]})]))
    rows = [tuple(row.values()) for batch in found for row in batch.to_pylist()]
    summary = Summary.from_json(rows.pop()[-1])
    assert all(row[-1] is None for row in rows)
    return Read(sorted(row[:-1] for row in rows), vars(summary))


def write(
    found: Read, table: TableSchema, options: CompactOptions, compiled: bool, ranges: int, rows_at_once: int
) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """One task over all ranges, as Spark sorts and sends them; what it says, and what it wrote."""
    observed = found.summary["observed"]
    wide = table.widen(observed, options.max_struct_fields)
    check_order(wide, options.sort_by)
    rows = found.rows
    if options.sort_by:
        by_identity = groupby(sorted(rows, key=lambda row: (row[1], row[2:], row[0])), key=lambda row: row[1])
        rows = sorted(list(same)[-1] for _, same in by_identity)
    bounds = choose_bounds(found.summary["samples"], ranges)
    columns: dict[str, Any] = {
        "part": pa.array([range_of(row[0], bounds) for row in rows], pa.int32()),
        "identity": pa.array([row[1] for row in rows], pa.binary()),
        "line": pa.array([row[3] for row in rows], pa.binary()),
    }
    store = Store({})
    read_as = observed_columns(wide, observed) if compiled else None
    schema = wide.file_schema(observed)
    task = WriteRanges(lambda: Clients(lambda _: store), NAMES, schema, options, Look(), "", read_as)
    parts = list(task(pa.table(columns).to_batches(max_chunksize=rows_at_once)))
    return [row for batch in parts for row in batch.to_pylist()], store.bodies


def check(
    bodies: Sequence[bytes], key: ItemKey, options: CompactOptions = OPTIONS, ranges: int = 3, rows_at_once: int = 5
) -> Read:
    table = TableSchema.of_key(key)
    exact, compiled = (read(bodies, table, options, way) for way in (False, True))
    assert compiled.summary == exact.summary
    if len(exact.summary["rejected"]) > options.max_quarantined:
        return exact  # nothing comes of it
    try:
        right = write(exact, table, options, False, ranges, rows_at_once)
    except SettingsError:
        assert options.sort_by
        return exact  # where there is no order, there are no places
    assert compiled.rows == exact.rows
    assert write(compiled, table, options, True, ranges, rows_at_once) == right
    return exact


@st.composite
def keys(draw: st.DrawFn) -> ItemKey:
    first, second = draw(st.sampled_from("SNB")), draw(st.sampled_from(["", *"SNB"]))
    return ItemKey(KeyAttribute("id", first), KeyAttribute("n", second) if second else None)


@st.composite
def days(draw: st.DrawFn, key: ItemKey) -> list[bytes]:
    """The objects of a task: changes of few items, most as the forwarder writes them; and what is no change."""
    values = {a.name: draw(st.lists(VALUES[a.type], min_size=1, max_size=4)) for a in key.attributes}
    lines: list[bytes] = []
    for number, item in enumerate(draw(st.lists(ITEMS, min_size=1, max_size=8))):
        image = {name: pair[0] for name, pair in item.items()}
        image |= {name: draw(st.sampled_from(some)) for name, some in values.items()}
        operation = draw(st.sampled_from(["INSERT", "MODIFY", "REMOVE", "SNAPSHOT"]))
        sequence, moment = str(draw(st.integers(1, 3))), 1_600_000_000_000 + number % 2
        line = encode_change(image, operation=operation, sequence_number=sequence, event_time=moment)
        way = draw(st.integers(0, 11))
        lines += [(foreign(line, way) if way < 4 else line).encode("utf-8", "surrogatepass")] * draw(st.integers(1, 2))
    lines = draw(st.permutations([*lines, *draw(st.lists(ODD, max_size=3))]))
    cut = draw(st.integers(0, len(lines)))
    bodies = []
    for part in (lines[:cut], lines[cut:]):
        body = draw(st.sampled_from([b"\n", b"\r\n", b"\n\n"])).join(part)
        bodies.append(gzip.compress(body) if draw(st.booleans()) else body)
        if draw(st.integers(0, 9)) == 0:
            bodies[-1] = bodies[-1][:-5]
    return bodies


ANY = st.shared(keys(), key="key")


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(ANY, ANY.flatmap(days), st.sampled_from([1, 300, 1 << 20]), st.integers(1, 9), st.data())
def test_any_objects_give_the_same_with_both_readers(
    key: ItemKey, bodies: list[bytes], block: int, rows_at_once: int, data: st.DataObject
) -> None:
    metadata = st.sampled_from(["__event_time", "__operation", "__expired", "n", "none"])
    sort_by = data.draw(st.one_of(st.just(()), st.lists(metadata, max_size=2, unique=True).map(tuple)))
    with small(block, 10_000, 1 << 12):
        check(bodies, key, replace(OPTIONS, sort_by=sort_by), rows_at_once=rows_at_once)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(sorted(VALUES)), st.data())
def test_values_of_one_type_are_in_the_same_order(kind: str, data: st.DataObject) -> None:
    """Numbers of every size, texts with NUL in them, booleans, nulls, and items without the attribute."""
    texts = st.text(st.sampled_from("\x00a\xff\U0001f600"), max_size=3).map(lambda text: {"S": text})
    values = st.one_of(VALUES[kind], st.just({"NULL": True}), *([texts] if kind == "S" else []))
    lines = []
    for n, value in enumerate(data.draw(st.lists(st.none() | values, min_size=1, max_size=9))):
        image = {"id": {"S": f"{n % 5}"}, **({} if value is None else {"at": value})}
        lines.append(encode_change(image, operation="INSERT", sequence_number=str(n), event_time=n))
    check(["\n".join(lines).encode()], TEXT_KEY, replace(OPTIONS, sort_by=("at",)))


def test_an_uneven_day_has_no_other_bytes_in_either_way() -> None:
    """RECEIPTS, with what only the exact reader reads among them; parts of several blocks."""
    key = ItemKey(KeyAttribute("receiptId", "S"))
    lines = []
    for n, item in enumerate(generate_receipts(3000)):
        line = encode_change(item, operation="INSERT", sequence_number=str(n % 2900), event_time=n)
        lines.append(foreign(line, n % 3) if n % 100 == 0 else line)
    lines += [lines[0], "none", '{"__operation":"CANARY"}', " "]
    bodies = [gzip.compress("\n".join(lines[i::7]).encode()) for i in range(7)]
    with small(1 << 16, 10_000, 8):
        found = check(bodies, key, CompactOptions(row_group_mb=1), 3, 500)
    assert (found.summary["read"], found.summary["canaries"], len(found.summary["rejected"])) == (3002, 1, 1)
    assert len(found.summary["samples"]) > 1000


def test_lines_whose_types_are_known_are_not_read_by_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """They would be read right, but slowly. Attributes and fields that are only null are known, too."""
    parsed: list[bytes] = []

    class Counting(RecordParser):
        def __call__(self, line: bytes) -> Record | None:
            parsed.append(line)
            return super().__call__(line)

    monkeypatch.setattr("dynalake.convert.read.parse.RecordParser", Counting)
    nothing = {"nothing": {"NULL": True}, "map": {"M": {"x": {"N": "1"}, "y": {"NULL": True}}}}
    items = [{**item, **nothing} for item in generate_receipts(300)]
    lines = [encode_change(item, operation="INSERT", sequence_number="1", event_time=n) for n, item in enumerate(items)]
    table = TableSchema.of_key(ItemKey(KeyAttribute("receiptId", "S")))
    found = read(["\n".join(lines).encode()], table, CompactOptions(), True)
    assert len(parsed) > 0
    parsed.clear()
    wide = table.widen(found.summary["observed"])
    assert read(["\n".join(lines).encode()], wide, CompactOptions(), True) == found
    write(found, table, CompactOptions(), True, 3, 50)
    assert not parsed


def test_fields_of_maps_that_are_only_null_are_read_exactly() -> None:
    """What is read under a map's type cannot be made to fit one with fewer fields."""
    wide = {f"k{i}": {"M": {"a": {"N": "1"}, "b": {"NULL": True}}} for i in range(9)}
    image = {"id": {"S": "x"}, "m": {"M": wide}}
    lines = [encode_change(image, operation="INSERT", sequence_number=str(n), event_time=n) for n in range(9)]
    check(["\n".join(lines).encode()], TEXT_KEY)


def test_too_many_rejected_lines_are_the_same_ones() -> None:
    bodies = [b"x\n[]\n{}\n" * 3, b"", gzip.compress(b"y\n" * 9)[:-9]]
    assert len(check(bodies, TEXT_KEY, replace(OPTIONS, max_quarantined=4)).summary["rejected"]) == 5
    assert len(check(bodies, TEXT_KEY, replace(OPTIONS, max_quarantined=99)).summary["rejected"]) == 20


@pytest.mark.parametrize("compiled", [False, True])
def test_an_object_of_any_size_passes_in_pieces(compiled: bool) -> None:
    """One without an end: what was read of it and has not come out is some blocks, however much has."""
    line = encode_change({"id": {"S": "x" * 900}}, operation="INSERT", sequence_number="1", event_time=1).encode()
    asked: list[int] = []

    class Endless(io.BytesIO):
        def read(self, amount: int | None = -1) -> bytes:
            assert amount is not None
            assert amount > 0, "it was asked for all of it"
            asked.append(amount)
            assert sum(asked) < 50 * blocks.BLOCK, "nothing comes out"
            return (line + b"\n") * (amount // len(line))

    class Endlessly(Store):
        def get_object(self, **_: Any) -> dict[str, Any]:
            return {"Body": Endless()}

    clients = Clients(lambda _: Endlessly({}))
    task = ReadObjects(lambda: clients, NAMES, TableSchema.of_key(TEXT_KEY), CompactOptions(), 1 << 20, compiled)
    given = pa.RecordBatch.from_pydict({"objects": [json.dumps([["k", "etag", 1 << 40, 0]])]})
    came = 0
    for batch in islice(task([given]), 12):
        came += batch.num_rows * len(line)
        assert sum(asked) - came < 3 * blocks.BLOCK
    assert came > 5 * blocks.BLOCK


def test_without_numba_a_task_says_so_and_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    line = encode_change({"id": {"S": "x"}}, operation="INSERT", sequence_number="1", event_time=1).encode()
    table = TableSchema.of_key(TEXT_KEY)
    exact = read([line], table, OPTIONS, False)
    right = write(exact, table, OPTIONS, False, 1, 1)
    monkeypatch.setitem(__import__("sys").modules, "numba", None)
    found = read([line], table, OPTIONS, True)
    assert "numba" in found.summary["slow"]
    assert found == exact._replace(summary={**exact.summary, "slow": found.summary["slow"]})
    assert write(found, table, OPTIONS, True, 1, 1) == right


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([b"a", b"b"]), st.binary(max_size=2))), st.integers(1, 4))
def test_of_each_identity_the_last_line_stays(rows: list[tuple[int, bytes, bytes]], at_once: int) -> None:
    # An identity is in one part alone.
    rows = sorted((number, b"%d" % number + identity, line) for number, identity, line in rows)
    types = {"part": pa.int32(), "identity": pa.binary(), "line": pa.binary()}
    columns = zip(*rows, strict=True) if rows else ((), (), ())
    table = pa.table({name: pa.array(list(c), of) for (name, of), c in zip(types.items(), columns, strict=True)})
    found = [(number, line) for number, lines in last_of_each(table.to_batches(at_once)) for line in lines.to_pylist()]
    assert found == [list(same)[-1][::2] for _, same in groupby(rows, key=lambda row: row[1])]
