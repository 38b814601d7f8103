"""The compiled reader finds what the exact reader finds, to the byte, or leaves the partition to it."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dynalake.clients import Clients
from dynalake.compact.convert import compact_day
from dynalake.convert.options import CompactOptions
from dynalake.convert.read import blocks, columns, parse, scan
from dynalake.convert.read.compiled import UNDECIDED, read_compiled
from dynalake.convert.read.exact import read_exactly
from dynalake.convert.read.raw import RawObject, parse_line
from dynalake.convert.read.records import Rejected
from dynalake.convert.rows import runs
from dynalake.convert.rows.order import reorder
from dynalake.convert.rows.write import group_tables
from dynalake.lake.schema import TableSchema, observe_record
from dynalake.lake.types import Type
from dynalake.names import Lake
from dynalake.record.change import encode_change
from infra.local.demo.receipts import generate_receipts
from tests.unit.compact.lake import KEY, TestLake
from tests.unit.record.strategies import ITEMS, numbers

NAMES = Lake("dev", "123456789012", "us-east-1").table("RECEIPTS")
EXAMPLES = int(os.environ.get("DYNALAKE_EXAMPLES", "40"))
"""Of each property; thousands take a quarter of an hour."""

OPTIONS = CompactOptions(max_struct_fields=3, memory_mb=1, row_group_mb=1)


class Bodies:
    """S3, as far as reading goes."""

    def __init__(self, bodies: dict[str, bytes]) -> None:
        self._bodies = bodies

    def get_object(self, *, Bucket: str, Key: str, IfMatch: str) -> dict[str, Any]:
        if Key not in self._bodies:
            raise ClientError({"Error": {"Code": "NoSuchKey"}}, "GetObject")
        return {"Body": io.BytesIO(self._bodies[Key])}


class Found(NamedTuple):
    """Everything that a reading gives."""

    read: int
    canaries: int
    duplicates: int
    observed: dict[str, Type]
    rejected: list[dict[str, Any]]
    groups: list[pa.Table]


def find(read: Callable[..., Any], bodies: list[bytes], table: TableSchema, options: CompactOptions) -> Found:
    keys = [f"{i:03d}" for i in range(len(bodies))]
    clients = Clients(lambda service: Bodies({k: b for k, b in zip(keys, bodies, strict=True) if b}))
    objects = [RawObject(k, "etag", len(b)) for k, b in zip(keys, bodies, strict=True)]
    rejected = Rejected(options.max_quarantined)
    with tempfile.TemporaryDirectory() as directory:
        records = read(clients, NAMES, objects, table, options, Path(directory), rejected)
        schema = table.widen(records.observed, options.max_struct_fields).file_schema(records.observed)
        rows = reorder(records.tables(schema), schema, options, Path(directory))
        groups = list(group_tables(rows, schema, options))
    return Found(records.read, records.canaries, records.duplicates, records.observed, rejected.entries, groups)


def check(bodies: list[bytes], options: CompactOptions = OPTIONS, table: TableSchema | None = None) -> bool:
    """Whether the compiled reader read it; what it read must be what the exact one reads."""
    table = table or TableSchema.of_key(KEY)
    try:
        compiled = find(read_compiled, bodies, table, options)
    except UNDECIDED:
        return False
    exact = find(read_exactly, bodies, table, options)
    assert compiled[:5] == exact[:5]
    assert [g.num_rows for g in compiled.groups] == [g.num_rows for g in exact.groups]
    for mine, right in zip(compiled.groups, exact.groups, strict=True):
        assert mine.schema == right.schema
        mine.validate(full=True)
        for name in right.column_names:
            assert mine[name].to_pylist() == right[name].to_pylist(), name
    return True


@contextmanager
def small(block: int, slots: int, pieces: int) -> Iterator[None]:
    """Everything in small pieces, so that a few lines meet every boundary."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK", block)
        patch.setattr(blocks, "_WIDE", 4)
        patch.setattr(parse, "_SAMPLE_BYTES", 1 << 9)
        patch.setattr(columns, "_SLOTS_AT_ONCE", slots)
        patch.setattr(runs, "SHARE", 1 << 8)
        patch.setattr(runs, "PIECES", pieces)
        patch.setattr(runs, "MERGED", 2)
        yield


def change(image: dict[str, Any], number: int, sequence: int, operation: str = "INSERT") -> str:
    image = {**image, "id": {"S": f"item {number}"}, "n": {"N": str(number % 2)}}
    return encode_change(
        image, operation=operation, sequence_number=str(sequence), event_time=1_600_000_000_000 + number
    )


def foreign(line: str, way: int) -> str:
    """The same record as other programs write it."""
    value = json.loads(line, parse_float=Decimal)
    if way == 0:
        return json.dumps(value, default=float)
    if way == 1:
        return json.dumps(dict(reversed(value.items())), separators=(",", ":"), ensure_ascii=False, default=float)
    return line.replace('":', '" : ', 1) if way == 2 else line + " \r"


ODD = st.sampled_from(
    [
        b"", b" ", b"\t\r", b"{}", b"[]", b"null", b"not json", b'{"id":', b"\xff\xfe", b'{"__operation":"CANARY"}',
        b'{"__operation":"CANARY","new":[1.25,"x"],"__canary_id":"c"}', b'{"a":1,"a":2}', b'{"id":"\xc3"}',
    ]
)  # fmt: skip


@st.composite
def days(draw: st.DrawFn) -> list[bytes]:
    """The objects of a day: mostly changes as the forwarder writes them."""
    lines: list[bytes] = []
    for number, item in enumerate(draw(st.lists(ITEMS, min_size=1, max_size=8))):
        image = {name: pair[0] for name, pair in item.items()}
        operation = draw(st.sampled_from(["INSERT", "MODIFY", "REMOVE", "SNAPSHOT"]))
        line = change(image, number, draw(st.integers(1, 3)), operation)
        if draw(st.integers(0, 9)) == 0:
            line = foreign(line, draw(st.integers(0, 3)))
        if draw(st.integers(0, 19)) == 0:
            line = line.replace(*draw(st.sampled_from([("0", "x"), ("INSERT", "UPSERT"), ("}", ""), (":", ":-")])), 1)
        lines += [line.encode("utf-8", "surrogatepass")] * draw(st.sampled_from([1, 1, 1, 2]))
    lines += draw(st.lists(ODD, max_size=2))
    lines = draw(st.permutations(lines))
    cut = draw(st.integers(0, len(lines)))
    bodies = []
    for part in (lines[:cut], lines[cut:]):
        body = b"\n".join(part) + (b"\n" if draw(st.booleans()) else b"")
        bodies.append(gzip.compress(body) if draw(st.booleans()) else body)
        if draw(st.integers(0, 9)) == 0:
            bodies[-1] = bodies[-1][:-5]
    return bodies


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(days(), st.sampled_from([1, 300, 1 << 20]), st.sampled_from([1, 100, 10_000]), st.sampled_from([1, 1 << 12]))
def test_any_day_is_read_as_the_exact_reader_reads_it(bodies: list[bytes], block: int, slots: int, pieces: int) -> None:
    with small(block, slots, pieces):
        check(bodies)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(numbers(), min_size=1, max_size=12))
@example(["9223372036854775807", "-9223372036854775808", "1"])
@example(["9223372036854775808"])
@example(["999999999999999", "0.999999999999999", "1E-30"])
@example(["99999999999999999999999999999999999999", "-1"])
@example(["1.50", "0.0", "100E-2", "1E5", "0E5", "10000000000000000000.0"])
@example(["1234567890123456789.000", "1.0000000000000000000000"])
@example(["0.000001", "0.0000001", "1E+2", "-0", "-0.0"])
def test_numbers_of_one_column(texts: list[str]) -> None:
    """All together, and with text among them: as numbers, and as the text of numbers."""
    lines = [change({"a": {"N": t}, "l": {"L": [{"N": t}]}}, i, i) for i, t in enumerate(texts)]
    check(["\n".join(lines).encode()])
    lines.append(change({"a": {"S": "n/a"}, "l": {"L": [{"S": "n/a"}]}}, 99, 99))
    check(["\n".join(lines).encode()])


def test_an_uneven_day_is_read_by_the_compiled_reader_alone() -> None:
    """RECEIPTS: many types, names in colliding case, mixed values; spilled, merged, and read twice."""
    lines = [change(item, n, n) for n, item in enumerate(generate_receipts(3000))]
    random.Random(1).shuffle(lines)
    bodies = [gzip.compress("\n".join(lines[i::7]).encode()) for i in range(7)]
    with small(1 << 16, 10_000, 8):
        assert check(bodies, CompactOptions(memory_mb=64, row_group_mb=1))


def test_no_line_is_odd_once_its_types_are_known() -> None:
    """Odd lines are read right, but slowly: this is what keeps the compiled reader fast."""
    lines = [change(item, n, n) for n, item in enumerate(generate_receipts(300))]
    seen: dict[str, Type] = {}
    for line in lines:
        observe_record(seen, parse_line(line.encode()), 100)
    text = "".join(f"{line}\n" for line in lines).encode() + scan.PADDING
    (chunk,) = columns.ColumnReader(TableSchema.of_key(KEY).widen(seen), 100).read(text)
    assert (chunk.odd, chunk.table.num_rows, chunk.observed) == ([], 300, seen)


def test_both_readers_write_the_same_bytes(lake: TestLake) -> None:
    """A retry may go the other way: it writes over the same objects."""
    items = [{**item, "id": {"S": str(n % 350)}, "n": {"N": "1"}} for n, item in enumerate(generate_receipts(400))]
    lines = lake.lines(items)
    lake.put("20240101", "1.gz", [*lines, *lines[:50], "none"])
    written = []
    for megabytes in (0, 1):
        found = compact_day(lake.clients, lake.names, "20240101", CompactOptions(compiled_from_mb=megabytes))
        assert (found.rows, found.duplicates, found.quarantined) == (400, 50, 1)
        written.append(lake.objects())
        lake.clients.s3.delete_object(Bucket=lake.names.lake.bucket, Key=found.manifest)
    assert written[0] == written[1]


def test_runs_are_merged_whatever_columns_each_of_them_has() -> None:
    """Again and again: only some of the items expired."""
    lines = [change({"a": {"N": "1"}}, n, n, "REMOVE" if n % 3 else "INSERT") for n in range(12)]
    lines = [line.replace("{", '{"__expired":true,', 1) if n % 3 == 1 else line for n, line in enumerate(lines)]
    with small(1, 1, 1 << 12):
        assert check(["\n".join(lines).encode()])


def test_types_that_change_late_are_read_again() -> None:
    """A double's digits are not to be had from a double."""
    early = [change({"a": {"N": "1.5"}, "b": {"M": {"c": {"N": "1"}}}}, n, n) for n in range(300)]
    late = [change({"a": {"N": "1.2345678901234567890"}, "b": {"M": {"c": {"S": "x"}, "d": {"NULL": True}}}}, 999, 999)]
    with small(1000, 10_000, 4):
        assert check(["\n".join(early).encode(), late[0].encode()])
        assert check(["\n".join(early).encode(), change({"b": {"L": []}}, 999, 999).encode()])


def test_wide_deep_and_many_keys() -> None:
    """2,000 attributes, a map of thousands of keys, all of DynamoDB's levels, empty things."""
    deep: dict[str, Any] = {"S": "x"}
    for level in range(30):
        deep = {"L": [deep]} if level % 2 else {"M": {"a": deep}}
    images: list[dict[str, Any]] = [
        {f"a{(7 * n + i) % 2000:04d}": {"N": f"{i}.5"} for i in range(n % 3, 600, 3)} for n in range(12)
    ]
    images += [{"map": {"M": {f"k{n * 1000 + i}": {"N": "1"} for i in range(1000)}}} for n in range(4)]
    images += [{"deep": deep}, {"e": {"L": []}, "m": {"M": {}}, "s": {"S": ""}, "z": {"NULL": True}}]
    lines = [change(image, n, n) for n, image in enumerate(images)]
    assert check(["\n".join(lines).encode()], CompactOptions())


def test_two_records_of_one_number_are_the_exact_readers() -> None:
    one = change({"a": {"N": "1"}}, 1, 1)
    two = change({"a": {"N": "2"}}, 1, 1)
    assert not check([f"{one}\n{two}\n".encode()])
    assert check([f"{one}\n{one}\n".encode()])


def test_too_many_lines_that_are_none_are_the_exact_readers() -> None:
    assert not check([b"x\n" * 3], CompactOptions(max_quarantined=2))
    assert check([b"x\n" * 2], CompactOptions(max_quarantined=2))


PATHS = [
    '{}', '{"/a":"B"}', '{"/a":"SS","/b":"NS"}', '{"/l/9":"BS","/l/10":"BS"}',
    '{"/é \U0001f600":"B","/a~1b":"B","/":"SS"}',
    '{"/a</b":"B"}', '{"/a\\"b":"B"}', '{ "/a" : "B" }', '{"/\\u00e9":"B"}',
]  # fmt: skip
NO_PATHS = [
    'null', 'true', '1', '""', '"B"', '[]', '["B"]', '{"/a":"S"}', '{"/a":"b"}', '{"/a":null}', '{"/a":["B"]}',
    '{"/a":{"B":1}}', '{"/a":"B","/a":"B"}', '{"/b":"B","/a":"B","/b":"B"}', '{"/a":"B","/b":1}', '{"/\\ud83c":"B"}',
]  # fmt: skip


def with_types(line: str, types: str) -> str:
    return line.replace(',"id":', f',"__types":{types},"id":', 1)


def test_the_types_that_json_cannot_show_are_read_as_their_text() -> None:
    """As compact JSON in the order of the line; whatever is not an object of texts to the four types is quarantined."""
    lines = [with_types(change({}, n, n), types) for n, types in enumerate([*PATHS, *NO_PATHS])]
    lines.append(change({}, 99, 99))
    body = "\n".join(lines).encode()
    found = find(read_exactly, [body], TableSchema.of_key(KEY), OPTIONS)
    assert [entry["line"] for entry in found.rejected] == [len(PATHS) + n + 1 for n in range(len(NO_PATHS))]
    reasons = [str(entry["reason"]) for entry in found.rejected]
    assert {reason.split(" ")[0] for reason in reasons[:12]} == {"__types"}
    texts = [group["__types"].to_pylist() for group in found.groups]
    expected = [json.dumps(json.loads(types), ensure_ascii=False, separators=(",", ":")) for types in PATHS]
    assert sorted(text for some in texts for text in some if text is not None) == sorted(expected)
    assert check([body])
    for line in lines:
        assert check([line.encode()])


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from([*PATHS, *NO_PATHS, ""]), min_size=1, max_size=12), st.sampled_from([1, 300, 1 << 20]))
def test_any_types_in_any_order(some: list[str], block: int) -> None:
    lines = [with_types(change({}, n, n), types) if types else change({}, n, n) for n, types in enumerate(some)]
    with small(block, 10_000, 1 << 12):
        assert check(["\n".join(lines).encode()])


def test_a_line_whose_types_are_in_the_order_of_its_values_is_not_odd() -> None:
    """Ten and more sets of a list are not in the order of their paths' texts."""
    types = json.dumps({f"/l/{n}": "SS" for n in range(120)}, separators=(",", ":"))
    text = with_types(change({}, 1, 1), types).encode() + scan.PADDING
    (chunk,) = columns.ColumnReader(TableSchema.of_key(KEY), 100).read(text)
    assert (chunk.odd, chunk.table["__types"].to_pylist()) == ([], [types])


def test_a_key_that_is_reserved_is_no_attribute() -> None:
    """Else it would be mistaken for the attribute of that name, which stands under another key."""
    line = change({}, 1, 1).replace(',"id":', ',"__other":1,"id":', 1)
    found = find(read_exactly, [line.encode()], TableSchema.of_key(KEY), OPTIONS)
    assert [entry["reason"] for entry in found.rejected] == ["__other is not a field of a change record"]
    assert check([line.encode(), change({"__other": {"S": "x"}}, 2, 2).encode()])
