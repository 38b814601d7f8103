"""Files in the order of the user's attributes: the same rows, in another order, in bounded memory."""

from __future__ import annotations

import gzip
from decimal import Decimal
from random import Random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dynalake.catalog.partitions import list_partitions
from dynalake.compact import repeats
from dynalake.compact.convert import compact_day
from dynalake.compact.plan import WRITTEN, plan_table
from dynalake.convert.options import CompactOptions
from dynalake.convert.read.compiled import read_compiled
from dynalake.convert.read.exact import read_exactly
from dynalake.convert.read.raw import parse_line
from dynalake.convert.rows.order import check_order
from dynalake.errors import SettingsError
from dynalake.lake.schema import TableSchema
from dynalake.lake.types import observe
from dynalake.record.change import encode_change
from dynalake.spark.order import identity_bytes, place_bytes
from tests.unit.compact.lake import KEY, TestLake, noon
from tests.unit.compact.test_compact_compiled import EXAMPLES, check, find, small
from tests.unit.compact.test_compact_flow import DAY, NEXT, A, B, rows
from tests.unit.record.strategies import TEXT

# Values that a column holds as bigint, double, decimal, text or boolean, with ties and gaps.
KINDS: list[st.SearchStrategy[dict[str, Any]]] = [
    st.integers(-3, 3).map(lambda n: {"N": str(n)}),
    st.sampled_from(["-1.5", "0", "0.25", "3"]).map(lambda n: {"N": n}),
    st.sampled_from(["-1.5", "0.12345678901234567890", "12345678901234567", "2"]).map(lambda n: {"N": n}),
    TEXT.map(lambda text: {"S": text}),
    st.sampled_from(["", "a", "A", "ä", "\U0001f600", "\uffff", "a\x00"]).map(lambda text: {"S": text}),
    st.booleans().map(lambda flag: {"BOOL": flag}),
    st.binary(max_size=3).map(lambda data: {"B": data}),
]


@st.composite
def sorted_days(draw: st.DrawFn) -> tuple[list[str], tuple[str, ...]]:
    """Lines with duplicates, and some attributes in the order of which their rows are to be."""
    kinds = {name: draw(st.sampled_from(KINDS)) for name in ("a", "A", "b")}
    lines = []
    for number in range(draw(st.integers(1, 25))):
        image = {"id": {"S": f"{number % 5}"}, "n": {"N": f"{number % 3}"}}
        for name, kind in kinds.items():
            if draw(st.integers(0, 3)):
                image[name] = draw(st.one_of(kind, kind, kind, st.just({"NULL": True})))
        line = encode_change(image, operation="INSERT", sequence_number=str(number // 2), event_time=number)
        lines += [line] * draw(st.sampled_from([1, 1, 2]))
    names = draw(st.lists(st.sampled_from(["a", "A", "b", "n", "__event_time"]), min_size=1, max_size=3, unique=True))
    return draw(st.permutations(lines)), tuple(names)


def expected(lines: list[str], sort_by: tuple[str, ...]) -> list[tuple[Any, ...]]:
    """Identities in order, as plain Python finds them."""
    last: dict[tuple[Any, ...], dict[str, Any]] = {}
    for values in sorted((parse_line(line.encode()) for line in lines), key=lambda v: int(v["__event_time"])):
        last[values["id"], values["n"], values["__sequence_number"]] = values

    def place(one: tuple[tuple[Any, ...], dict[str, Any]]) -> list[Any]:
        identity, values = one
        parts = [values.get(name) for name in sort_by]
        return [*((part is None, 0 if part is None else part) for part in parts), *identity]

    return [identity for identity, _ in sorted(last.items(), key=place)]


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(sorted_days(), st.sampled_from([1, 1 << 12]))
def test_any_rows_are_in_the_order_of_their_values(day: tuple[list[str], tuple[str, ...]], pieces: int) -> None:
    """By both readers, spilled at every few rows and merged two runs at a time; Spark's bytes are in the same order."""
    lines, sort_by = day
    bodies = [gzip.compress("\n".join(part).encode()) for part in (lines[::2], lines[1::2]) if part]
    options = CompactOptions(memory_mb=1, row_group_mb=1, sort_by=sort_by)
    right = expected(lines, sort_by)
    with small(300, 10_000, pieces):
        for read in (read_exactly, read_compiled):
            found = find(read, bodies, TableSchema.of_key(KEY), options)
            made = pa.concat_tables(found.groups).select(["id", "n", "__sequence_number"]).to_pylist()
            assert [tuple(row.values()) for row in made] == right, read
        assert check(bodies, options)
    values = {(v["id"], v["n"], v["__sequence_number"]): v for v in (parse_line(line.encode()) for line in lines)}
    if len(values) == len(lines):
        places = [place_bytes([values[one].get(name) for name in sort_by], identity_bytes(one)) for one in right]
        assert places == sorted(places)


def test_a_version_is_sorted_whole_and_both_readers_write_the_same_bytes(lake: TestLake) -> None:
    """Over the bounds of row groups and parts; what stays of duplicates is what stays without an order."""
    images = [{"id": {"S": f"{n:04d}"}, "n": {"N": "1"}, "at": {"N": str(n * 7919 % 1000)}} for n in range(1000)]
    noise = Random(1)
    images = [{**image, "x": {"S": noise.randbytes(1500).hex()}} for image in images]
    lines = lake.lines(images)
    lake.put(DAY, "1.gz", [*lines, *lines[::3]])
    written = []
    for megabytes in (0, 64):
        options = CompactOptions(
            compiled_from_mb=megabytes, memory_mb=4, part_mb=1, row_group_mb=1, codec="snappy", sort_by=("at",)
        )
        lake.options = options
        found = compact_day(lake.clients, lake.names, DAY, options)
        assert (found.rows, found.duplicates, found.parts > 1) == (1000, 334, True)
        written.append(lake.objects())
        lake.clients.s3.delete_object(Bucket=lake.names.lake.bucket, Key=found.manifest)
    assert written[0] == written[1]
    lake.run(NEXT)
    assert [row["at"] for row in rows(lake, DAY)] == list(range(1000))
    assert max(table.num_rows for table in lake.published(DAY)) < 1000


def test_another_order_converts_a_day_again_only_where_it_is_named(lake: TestLake) -> None:
    lake.put(DAY, "1.gz", lake.lines([{**A, "x": {"N": "2"}}, {**B, "x": {"N": "1"}}]))
    lake.run(NEXT)
    assert [row["id"] for row in rows(lake, DAY)] == ["a", "b"]
    lake.options = CompactOptions(sort_by=("x",))
    assert lake.run(NEXT).days == ()
    assert lake.run(NEXT, [DAY]).days == (DAY,)
    assert [row["id"] for row in rows(lake, DAY)] == ["b", "a"]
    assert plan_table(lake.clients, lake.names, lake.options, NEXT, [DAY]) == ()
    # A later run with the defaults leaves it as it is.
    assert plan_table(lake.clients, lake.names, CompactOptions(), NEXT) == ()
    shown = list_partitions(lake.clients, lake.names, lake.names.typed_table)[DAY]
    assert '"sort_by": ["x"]' in shown.parameters[WRITTEN]


def test_an_attribute_that_a_day_has_not_is_null_there(lake: TestLake) -> None:
    """The same run sorts another day by it; here the key decides, and attributes named after it."""
    lake.options = CompactOptions(sort_by=("x", "ID"))
    lake.put(DAY, "1.gz", lake.lines([{**A, "x": {"N": "2"}, "ID": {"S": "z"}}, {**B, "x": {"N": "1"}}]))
    lake.put("20240102", "1.gz", lake.lines([{**A, "ID": {"S": "z"}}, {**B, "ID": {"S": "y"}}, A]))
    lake.run(NEXT)
    lake.run(NEXT, ["20240102"])
    assert [row["id"] for row in rows(lake, DAY)] == ["b", "a"]
    assert [(row["id"], row["__sequence_number"][-1]) for row in rows(lake, "20240102")] == [
        ("b", "4"),
        ("a", "3"),
        ("a", "5"),
    ]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([{"a": 1}], "which is a struct"),
        ([{f"k{i}": 1 for i in range(200)}], "which is a map"),
        ([[1]], "which is a list"),
        ([1, "text"], "several types"),
        ([Decimal("1" * 38), Decimal("0.125")], "kept as text"),
    ],
)
def test_an_attribute_without_an_order_is_refused_with_the_reason(values: list[Any], reason: str) -> None:
    table = TableSchema.of_key(KEY)
    for value in values:
        table = table.widen({"v": observe(value)})
    with pytest.raises(SettingsError, match=f"sort_by names 'v', .*{reason}"):
        check_order(table, ("id", "v"))


def test_an_attribute_that_is_not_there_is_refused_with_those_that_are() -> None:
    table = TableSchema.of_key(KEY).widen({f"a{i:03d}": observe(1) for i in range(100)} | {"updatedAt": observe("x")})
    check_order(table, ("updatedAt", "n", "__event_time"))
    with pytest.raises(SettingsError) as refused:
        check_order(table, ("updatedat",))
    assert "sort_by names 'updatedat', which no item of the table has" in str(refused.value)
    assert refused.value.allowed.startswith("updatedAt, id, n, a000")
    assert refused.value.allowed.endswith(" and 68 more")


def test_nothing_is_published_where_the_order_is_refused(lake: TestLake) -> None:
    lake.put(DAY, "1.gz", lake.lines([{**A, "x": {"L": []}}]))
    for sort_by in (("x",), ("y",)):
        with pytest.raises(SettingsError):
            compact_day(lake.clients, lake.names, DAY, CompactOptions(sort_by=sort_by))
    assert not lake.objects("dynamodb/parquet/")


@pytest.mark.parametrize("sort_by", [("a", "a"), ("",)])
def test_an_order_names_each_attribute_once(sort_by: tuple[str, ...]) -> None:
    with pytest.raises(SettingsError, match="sort_by is"):
        CompactOptions(sort_by=sort_by)
    assert CompactOptions.from_dict({"sort_by": ["a"]}) == CompactOptions(sort_by=("a",))


@pytest.mark.parametrize("held", [0, repeats.HELD])
def test_what_came_again_is_found_in_a_day_of_another_order(
    lake: TestLake, monkeypatch: pytest.MonkeyPatch, held: int
) -> None:
    """By the ranges of keys that its row groups have, which overlap then."""
    monkeypatch.setattr(repeats, "HELD", held)
    monkeypatch.setattr("dynalake.convert.rows.write._MB", 1 << 10)
    lake.options = CompactOptions(sort_by=("x",), part_mb=4, row_group_mb=1)
    images = [{"id": {"S": f"{n:03d}"}, "n": {"N": "1"}, "x": {"N": str(n * 37 % 100)}} for n in range(100)]
    lines = lake.lines(images, made=round(noon(DAY).timestamp() * 1000))
    lake.put(DAY, "1.gz", lines)
    lake.run(noon("20240102"))
    lake.put("20240102", "1.gz", [*lines[::7], *lake.lines([A])])
    lake.run(noon("20240103"))
    assert [row["x"] for row in rows(lake, DAY)] == list(range(100))
    assert len(lake.published(DAY)) > 1
    assert [row["id"] for row in rows(lake, "20240102")] == ["a"]
