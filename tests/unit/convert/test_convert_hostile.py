"""Hostile or careless input: read correctly, or rejected alike by both readers."""

from __future__ import annotations

import gzip
import json
import random
import tempfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from dynalake.convert.options import ReadOptions
from dynalake.convert.read.compiled.scan import PADDING
from dynalake.convert.read.growth import Grown
from dynalake.convert.read.placing import PlacingReader
from dynalake.convert.read.quarantine import quarantine_key
from dynalake.convert.read.raw_batch import RawBatch, read_batch
from dynalake.convert.rows.place import DENSE
from dynalake.errors import ConflictError
from dynalake.lake.catalog.table import Table
from dynalake.lake.columns.pins import Pins
from dynalake.lake.columns.schema import TableSchema
from dynalake.lake.files.folders import Input
from dynalake.lake.types.budget import BUDGET
from dynalake.lake.types.union import Map
from dynalake.record.change import OTHER
from dynalake.record.key import ItemKey, KeyAttribute
from tests.unit.convert.batches import (
    DAY,
    NAMES,
    TEXT_KEY,
    Bucket,
    bucket,
    change,
    check_alike,
    find,
    line_of,
    small,
    table_of,
    winners,
)

BOTH = pytest.mark.parametrize("compiled", [False, True], ids=["exact", "compiled"])


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Delete spilled files with the test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def lines(*values: dict[str, Any]) -> bytes:
    """Return one change of a separate item for each."""
    return b"".join(line_of(change({"id": f"{i:03d}", **v}, i)) + b"\n" for i, v in enumerate(values))


def read(store: Bucket, compiled: bool, table: TableSchema | None = None, limit: int = 100) -> RawBatch:
    options = ReadOptions(compiled_from_mb=0 if compiled else 1 << 20, max_quarantined=limit)
    place = Path(tempfile.mkdtemp())
    schema = table or TableSchema.of_new_table(TEXT_KEY)
    return read_batch(Table(store.clients(), NAMES), store.objects(), schema, options, place)


# -- values that are not what the column is ------------------------------------------------------------------------


def test_values_of_other_types_than_the_map_column_are_in_other() -> None:
    """A map with more than a hundred keys, then any other value."""
    table = table_of(TEXT_KEY, [{"m": {f"k{i}": i for i in range(150)}}], BUDGET)
    assert isinstance(table.known["m"].type, Map)
    others: list[Any] = [
        {"k1": "abc"}, ["x"], {"k1": {}}, {"k1": Decimal("1.5")}, "text", 7, True, {"k1": True}, {"": [1]}, [],
        {"k1": None, "k2": 2**63}, {"k1": [[]]}, [{}], {"a": {"b": {"c": 1}}},
    ]  # fmt: skip
    good: list[Any] = [{"k1": 1}, {"new": 5, "": 0}, {}, {"k": None}, None]
    result = check_alike([lines(*({"m": m} for m in [*others, *good]))], table)
    assert result.schema == table
    assert result.misfits["m"]["count"] == len(others)
    assert [row["m"] for row in result.rows[len(others) :]] == [
        [("k1", 1)],
        [("", 0), ("new", 5)],
        [],
        [("k", None)],
        None,
    ]


def test_a_field_without_a_place_moves_only_its_attribute_to_other() -> None:
    table = table_of(TEXT_KEY, [{"s": {f"k{i:03d}": 1 for i in range(100)}, "t": "x"}], BUDGET)
    result = check_alike([lines({"s": {"k000": 1, "zzz": 2}, "t": "y"}, {"s": {"k000": 2}, "t": "z"})], table)
    assert result.schema == table  # it has as many fields as a struct may have
    assert [row["t"] for row in result.rows] == ["y", "z"]
    assert [row[OTHER] for row in result.rows] == [[("s", '{"k000":1,"zzz":2}')], None]


def test_numbers_keep_all_their_digits_everywhere() -> None:
    table = table_of(TEXT_KEY, [{"i": 1, "d": Decimal("0.5"), "t": "x"}], BUDGET)
    texts = ["1.50", "12345678901234567890123456789012345678", "1E-130", "9.9E+125", "-0.10", "100E2"]
    raw = b"".join(
        line_of(change({"id": str(n)}, n))[:-1] + f',"i":{t}0,"t":{t},"z":{{"a":[{t}]}}}}\n'.encode()
        for n, t in enumerate(texts)
    )
    raw = raw.replace(b"E-1300", b"E-13").replace(b"E+1250", b"E+12").replace(b"E20", b"E2")
    check_alike([raw], table)


# -- names ---------------------------------------------------------------------------------------------------------


def test_thousands_of_names_in_one_item_are_in_other() -> None:
    item = {f"n{i:04d}": i for i in range(3_600)}
    result = check_alike([lines({"a": 1}, item, {"a": 2, "b": {"x": 1}})], TableSchema.of_new_table(TEXT_KEY))
    assert len(result.schema.columns) == BUDGET.columns
    assert {"id", "a", "b"} <= result.schema.known.keys(), "the shortest names come first"
    assert result.without == 3_600 - (BUDGET.columns - 3)
    later = check_alike([lines(item, {"c": 1})], result.schema)
    assert later.schema == result.schema
    assert (later.without, later.observed.keys() - result.schema.known.keys()) == (result.without + 1, set())


def test_very_long_names_are_read_like_others() -> None:
    long = ["n" * 60_000 + str(i) for i in range(3)] + ["\u00e9" * 29_000]
    items: list[dict[str, Any]] = [{name: 1, "m": {name: {"x": name}}, "ok": i} for i, name in enumerate(long)]
    result = check_alike([lines(*items)], TableSchema.of_new_table(TEXT_KEY))
    assert result.schema.known.keys() == {"id", "m", "ok"}
    assert isinstance(result.schema.known["m"].type, Map)
    assert max(map(len, result.observed)) < 300
    assert len(json.dumps(result.misfits)) < 10_000


def test_attributes_pinned_by_a_user() -> None:
    pins = Pins(never=("secret",), types={"t": "text", "j": "json", "d": "decimal(38,2)"})
    table = TableSchema.of_new_table(TEXT_KEY, pins)
    items: list[dict[str, Any]] = [
        {"secret": 1, "t": 1, "j": {"a": 1}, "d": Decimal("1.25")},
        {"secret": {"x": 1}, "t": "x", "j": "x", "d": Decimal("1.255")},
        {"u": 1},
    ]
    result = check_alike([lines(*items)], table)
    assert result.schema.known.keys() == {"id", "t", "j", "d", "u"}
    assert [row["j"] for row in result.rows] == ['{"a":1}', '"x"', None]
    assert [dict(row[OTHER] or ()) for row in result.rows] == [
        {"secret": "1", "t": "1"},
        {"secret": '{"x":1}', "d": "1.255"},
        {},
    ]


# -- width and density ---------------------------------------------------------------------------------------------


def test_a_list_that_is_too_dense_for_its_column_is_in_other() -> None:
    wide = [{f"k{i:02d}": 1 for i in range(90)}]
    table = table_of(TEXT_KEY, [{"l": wide}], BUDGET)
    most = DENSE // 91
    result = check_alike([lines({"l": [{}] * most}, {"l": [{}] * (most + 1)}, {"k": 1, "l": wide})], table)
    assert [row["l"] is None for row in result.rows] == [False, True, False]
    assert json.loads(dict(result.rows[1][OTHER])["l"]) == [{}] * (most + 1)


def test_all_lists_of_a_row_together_are_bounded() -> None:
    wide = [{f"k{i:02d}": 1 for i in range(90)}]
    table = table_of(TEXT_KEY, [{f"l{j}": wide for j in range(5)}], BUDGET)
    half: list[dict[str, int]] = [{}] * (DENSE // 91 // 2)
    result = check_alike([lines({f"l{j}": half for j in range(5)})], table)
    assert [j for j in range(5) if result.rows[0][f"l{j}"] is not None] == [0, 1]


def test_any_line_can_be_read_with_few_slots() -> None:
    """A line whose lists need more room than a whole piece of lines gets that room, and is read once."""
    items = [{"l": [[i] * (i % 7) for i in range(n * 40)], "m": {f"k{i:03d}": i for i in range(n)}} for n in range(9)]
    for slots in (1, 50, 1000):
        with small(slots=slots):
            check_alike([lines(*items)], TableSchema.of_new_table(TEXT_KEY))


# -- lines that are not change records -----------------------------------------------------------------------------


def bad(number: int, **values: str) -> bytes:
    fields = {
        "__operation": '"INSERT"',
        "__sequence_number": f'"{number:040d}"',
        "__event_time": "1600000000000",
        "id": f'"{number}"',
        **values,
    }
    return ("{" + ",".join(f'"{k}":{v}' for k, v in fields.items()) + "}\n").encode()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (bad(1, __event_time="17e11"), "__event_time is not milliseconds in digits"),
        (bad(1, __event_time="1704103200000.0"), "__event_time is not milliseconds in digits"),
        (bad(1, __event_time="9223372036854775808"), "__event_time is not milliseconds in digits"),
        (bad(1, a="1e1000000000000000000"), "a number whose exponent is beyond 1,000,000"),
        (bad(1, a="1e-10000000000000000000"), "a number whose exponent is beyond 1,000,000"),
        (bad(1, a='{"b":[0e1000001]}'), "a number whose exponent is beyond 1,000,000"),
        (bad(1, a="[" * 64 + "]" * 64), "nested deeper than 64 levels"),
        (bad(1, a='{"a":' * 64 + "1" + "}" * 64), "nested deeper than 64 levels"),
        (bad(1, a="[" * 400 + "]" * 400), "nested deeper than 64 levels"),
        (bad(1, a="[" * 5000 + "]" * 5000), "nested deeper than 64 levels"),
        (bad(1, id='"\\udc00"'), "key attribute 'id' has half of a surrogate pair"),
        (bad(1, id="7"), "key attribute 'id' is not of type S"),
        (bad(1, a='1,"a":2'), "an object has a key twice"),
        (bad(1, a='null,"a":null'), "an object has a key twice"),
        (bad(1, a='{"x":null,"x":1}'), "an object has a key twice"),
        (b'{"__operation":"INSERT"}\n', "__sequence_number is not a sequence number"),
    ],
)
def test_a_line_is_rejected_by_both_readers(line: bytes, reason: str) -> None:
    table = table_of(TEXT_KEY, [{"a": {"b": 1}}], BUDGET)
    for schema in (table, TableSchema.of_new_table(TEXT_KEY)):
        result = check_alike([lines({"a": {"b": 2}}) + line + lines({"b": 3})], schema)
        assert result.rejected.reasons == {reason: 1}
        (body,) = result.put.values()
        (entry,) = map(json.loads, body.splitlines())
        assert (entry["line"], entry["reason"].startswith(reason)) == (2, True)


@pytest.mark.parametrize(
    "line",
    [
        bad(1, a="[" * 63 + "]" * 63),
        bad(1, a="1e1000000", b="1e-1000000", c="[1e99999]"),
        bad(1, a='"\\ud800"', b='{"\\ud800":1}', c='["x","\\udfff"]'),
        bad(1, a='"\\ud83d\\ude00"'),
        bad(1, __event_time="-5"),
        bad(1, a='{"x":null,"y":null}', b="null"),
    ],
)
def test_a_line_is_read_by_both_readers(line: bytes) -> None:
    for schema in (table_of(TEXT_KEY, [{"a": "", "c": ["x"]}], BUDGET), TableSchema.of_new_table(TEXT_KEY)):
        result = check_alike([line], schema)
        assert not result.rejected.lines


def test_half_of_a_surrogate_pair_comes_back_unchanged() -> None:
    table = table_of(TEXT_KEY, [{"a": "", "l": [""], "j": 1}], BUDGET)
    line = bad(1, a='"x\\ud800"', l='["y\\udfff"]', z='"\\udbff"', j='"ok"')
    result = check_alike([line], table)
    assert dict(result.rows[0][OTHER]) == {"a": '"x\\ud800"', "l": '["y\\udfff"]', "z": '"\\udbff"', "j": '"ok"'}


@pytest.mark.parametrize("number", ["1e126", "1E-131", "1e400", "12345e123"])
def test_a_key_number_that_dynamodb_cannot_hold_is_rejected(number: str) -> None:
    key = ItemKey(KeyAttribute("n", "N"))
    table = TableSchema.of_new_table(key)
    for text in (number, f"-{number}"):
        result = find([bad(1, n="2") + bad(2, n=text)], table, compiled=True)
        assert len(result.rows) == len(find([bad(1, n="2") + bad(2, n=text)], table, compiled=False).rows)
        check_alike([bad(1, n="2") + bad(2, n=text)], table)


def test_number_keys_are_compared_by_value() -> None:
    """They do not fit the column created for the first one, and still appear once."""
    key = ItemKey(KeyAttribute("n", "N"), KeyAttribute("id", "S"))
    table = table_of(key, [{"n": 1, "id": ""}], BUDGET)
    numbers = ["1", "1.0", "10E-1", "1.5", "-1.5", "-15e-1", "0", "-0.0", "9.9E+125", "1E-130", "123456789012345678901"]
    raw = b"".join(bad(1, n=n, id='"a!~b"') for n in numbers)
    result = check_alike([raw], table)
    assert [row["__key"] for row in result.rows] == sorted({row["__key"] for row in result.rows})
    assert (result.sums.rows, result.sums.duplicates) == (7, 4)
    assert {row["n"] for row in result.rows} == {0, 1, None}


# -- quarantine ----------------------------------------------------------------------------------------------------


def entries(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in body.splitlines()]


@BOTH
def test_each_object_has_its_own_rejected_lines_stored_once_by_any_reader(compiled: bool) -> None:
    good = lines({"a": 1})
    bodies = [good + b"one\n\n \ntwo\n" + good, good, b"three\n" * 3 + good]
    store = bucket(bodies)
    batch = read(store, compiled)
    list(batch.tables())
    keys = [o.key for o in store.objects()]
    assert store.put.keys() == {quarantine_key(NAMES, key, "etag") for key in (keys[0], keys[2])}
    assert all(key.startswith(f"dynamodb-errors/convert/RECEIPTS/dt={DAY}/") for key in store.put)
    first = entries(store.put[quarantine_key(NAMES, keys[0], "etag")])
    assert [(e["object"], e["line"], e["text"]) for e in first] == [(keys[0], 2, "one"), (keys[0], 3, "two")]
    assert (batch.rejected.lines, batch.rejected.objects, dict(batch.reasons)) == (5, 2, {"not JSON": 5})
    assert batch.sums.add_up
    # Again, in another batch, by the other reader.
    before = dict(store.put)
    again = bucket([bodies[2]])
    again.bodies = {keys[2]: bodies[2]}
    list(read(again, not compiled).tables())
    assert again.put.items() <= before.items()
    again.put = before
    list(read(again, compiled).tables())


@BOTH
def test_more_rejected_lines_than_the_limit_stop_nothing(compiled: bool) -> None:
    store = bucket([(b"x" * 100_000 + b"\n") * 300 + lines({"a": 1})])
    with small(block=1 << 20):
        batch = read(store, compiled, limit=10)
        assert sum(t.num_rows for t in batch.tables()) == 1
    (body,) = store.put.values()
    assert len(body) < 60_000
    kept = entries(body)
    assert [e["line"] for e in kept] == list(range(1, 12))
    assert kept[-1]["reason"] == "290 further lines were rejected and are not kept here"
    assert (batch.rejected.lines, batch.rejected.weight) == (300, 300)


def noise(count: int) -> bytes:
    """Return lines that gzip hardly compresses, so that a cut in the middle leaves some of them."""
    dice = random.Random(5)
    return lines(*({"x": dice.randbytes(300).hex()} for _ in range(count)))


def corrupt(body: bytes) -> bytes:
    """Return the body twice; the second copy has a block of an invalid type."""
    return body + body[:10] + b"\x07" + body[11:]


@BOTH
@pytest.mark.parametrize(("harm", "reason"), [(corrupt, "gzip is corrupt"), (lambda b: b[:-400], "gzip is cut short")])
def test_the_loss_of_a_broken_object_is_counted(compiled: bool, harm: Callable[[bytes], bytes], reason: str) -> None:
    """Everything readable is read; the size of the rest is estimated."""
    body = harm(gzip.compress(noise(1_000)))
    store = bucket([body, lines({"a": 1}) + b"bad\n"])
    batch = read(store, compiled)
    rows = sum(t.num_rows for t in batch.tables())
    assert 900 < rows <= 1_001
    first, second = store.put.values()
    assert entries(first)[-1]["reason"].startswith(reason)
    assert [e["line"] for e in entries(second)] == [2]
    assert batch.reasons[reason] == 1
    if harm is corrupt:
        assert len(body) // 2 - 10 <= batch.rejected.lost_bytes <= len(body) // 2
        assert batch.rejected.weight > 250
    assert batch.sums.add_up


@BOTH
def test_a_missing_object_is_reported(compiled: bool) -> None:
    store = bucket([lines({"a": 1}), b"", b"bad\n"])
    missing = Input(f"{NAMES.raw_day(DAY)}gone.gz", "etag", 5)
    options = ReadOptions(compiled_from_mb=0 if compiled else 1 << 20)
    batch = read_batch(
        Table(store.clients(), NAMES), [*store.objects()[:1], missing, *store.objects()[2:]],
        TableSchema.of_new_table(TEXT_KEY), options, Path(tempfile.mkdtemp()),
    )  # fmt: skip
    list(batch.tables())
    assert batch.rejected.deleted == (missing.key,)
    assert dict(batch.reasons) == {"the object was deleted after it was listed": 1, "not JSON": 1}
    assert len(store.put) == 1
    assert batch.sums.add_up


@BOTH
def test_a_replaced_object_is_left_to_the_next_plan(compiled: bool) -> None:
    store = bucket([lines({"a": 1})])
    (stored,) = store.objects()
    options = ReadOptions(compiled_from_mb=0 if compiled else 1 << 20)
    with pytest.raises(ConflictError, match="was replaced"):
        read_batch(
            Table(store.clients(), NAMES),
            [Input(stored.key, "other", 1)],
            TableSchema.of_new_table(TEXT_KEY),
            options,
            Path(tempfile.mkdtemp()),
        )


def test_records_that_differ_only_in_their_lines_go_to_the_exact_reader() -> None:
    """One change in two versions, among so many others that rows were already returned before it."""
    with small(block=1 << 10, pieces=1 << 12):
        body = lines(*({"a": i, "t": "x" * 50} for i in range(200)))
        twice = [line_of(change({"id": "150", "a": a}, 150)) + b"\n" for a in (1, 2)]
        result = check_alike([body, *twice], TableSchema.of_new_table(TEXT_KEY))
    assert (result.sums.rows, result.sums.duplicates) == (200, 2)


def test_an_object_that_disappears_between_two_reads_fails_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    store = bucket([lines({"a": 1}), lines({"a": Decimal("1.5")})])
    batch = read(store, True)
    schema = table_of(TEXT_KEY, [{"a": "x"}], BUDGET)  # not the batch's own schema: it has to be read again
    store.bodies.pop(store.objects()[1].key)
    with pytest.raises(ConflictError, match="deleted while they were read"):
        list(batch.tables(schema))


# -- speed, measured by work and not by a clock --------------------------------------------------------------------


def test_attribute_names_that_are_data_do_not_need_the_python_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each item has its own names, and the table has all the columns that it may have."""
    full = table_of(TEXT_KEY, [{f"n{i:03d}": i for i in range(BUDGET.columns)}], BUDGET)
    items = [{f"vote#{n:06d}{i}": {"at": i, "by": "x"} for i in range(5)} | {"n000": n} for n in range(300)]
    text = lines(*items) + PADDING
    monkeypatch.setattr("dynalake.convert.read.placing.RecordParser.__call__", None)
    monkeypatch.setattr("dynalake.convert.read.compiled.columns.decode", None)
    blocks: list[Any] = []
    PlacingReader(TEXT_KEY, Grown(full)).read(text, blocks.append)
    assert sum(t.table.num_rows for t in blocks) == 300
    assert blocks[0].table[OTHER][7].as_py()[3] == ("vote#0000073", '{"at":3,"by":"x"}')


def test_a_batch_that_only_adds_columns_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    table = table_of(TEXT_KEY, [{"a": 1, "m": {"b": "x"}}], BUDGET)
    calls: list[bool] = []
    original = RawBatch._read

    def counted(batch: RawBatch, growth: Any, *, compiled: bool) -> Any:
        calls.append(compiled)
        return original(batch, growth, compiled=compiled)

    monkeypatch.setattr(RawBatch, "_read", counted)
    result = find([lines(*({"a": i, "m": {"b": str(i)}, "x": i} for i in range(50)))], table, compiled=True)
    assert (len(result.rows), len(calls), result.schema.known.keys() - table.known.keys()) == (50, 1, {"x"})


def test_the_expected_winners_are_right() -> None:
    assert [r.values["a"] for r in winners([lines({"a": 1}, {"a": 2}) * 2], TEXT_KEY)] == [1, 2]
