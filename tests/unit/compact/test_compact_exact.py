"""What is exact stays so on the way from one type to a wider one, and where two names meet."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pyarrow as pa

from dynalake.catalog.partitions import point_snapshot
from dynalake.catalog.views import read_watermark
from dynalake.compact.publish import publish_table
from dynalake.days import SNAPSHOT_DAY, shift_day
from tests.unit.compact.lake import TestLake, noon
from tests.unit.compact.test_compact_flow import DAY, A, B, rows

NEXT = shift_day(DAY, 1)
NOW = noon(NEXT)
LONG = "0.123456789012345678901"


def blocks(lake: TestLake, first: dict[str, str] | None, later: str) -> None:
    """A day that the compiled reader reads in several blocks: the attribute `v` in the first, and in the last line."""
    fill = [
        {"id": {"S": f"{n:05}"}, "n": {"N": "1"}, "t": {"S": "x" * 1000}, **({"v": first} if first else {})}
        for n in range(20_000)
    ]
    big = {"id": {"S": "big"}, "n": {"N": "1"}, "v": {"N": "615410564305835000000000000000000000"}}
    lake.put(DAY, "1", "\n".join(lake.lines([*([] if first else [big]), *fill])).encode() + b"\n")
    lake.put(DAY, "2", "\n".join(lake.lines([{**A, "v": {"N": later}}])).encode() + b"\n")


def values(lake: TestLake) -> list[Any]:
    return [row["v"] for row in rows(lake, DAY) if row["v"] is not None]


def test_a_long_integer_becomes_the_nearest_double(lake: TestLake) -> None:
    blocks(lake, None, "0.5")
    lake.run(NOW)
    assert values(lake) == [0.5, 615410564305835000000000000000000000.0]


def test_integers_beside_a_long_fraction_are_converted(lake: TestLake) -> None:
    blocks(lake, {"N": "7"}, LONG)
    lake.run(NOW)
    assert {str(value).rstrip("0").rstrip(".") for value in values(lake)} == {"7", LONG}


def test_rows_are_sorted_by_a_long_fraction(lake: TestLake) -> None:
    lake.put(DAY, "1.gz", lake.lines([{**A, "v": {"N": LONG}}, {**B, "v": {"N": "0.1"}}, {**A, "id": {"S": "c"}}]))
    replace(lake, options=replace(lake.options, sort_by=("v",))).run(NOW)
    assert [row["id"] for row in rows(lake, DAY)] == ["b", "a", "c"]


def test_names_that_meet_in_a_map_stay_apart(lake: TestLake) -> None:
    """The siblings have named `Qty` and `qty` each for itself, before there are so many that they become a map."""

    def sizes(**of: dict[str, int]) -> dict[str, Any]:
        maps = {name: {"M": {key: {"N": str(n)} for key, n in one.items()}} for name, one in of.items()}
        return {"sizes": {"M": maps}}

    lake.put(DAY, "1.gz", lake.lines([{**A, **sizes(x={"Qty": 1}, y={"qty": 2, "Qty": 7})}]))
    lake.run(NOW)
    lake.put(NEXT, "1.gz", lake.lines([{**B, **sizes(**{f"k{n:03}": {"qty": n} for n in range(101)})}]))
    lake.run(noon(shift_day(NEXT, 1)))
    maps: Any = pa.concat_tables(lake.published(DAY))["sizes"].combine_chunks()
    items = maps.items
    found = {field.name: items.field(place).to_pylist() for place, field in enumerate(items.type)}
    assert len(found) == 2
    assert found.pop("qty") == [None, 2]
    assert list(found.values()) == [[1, 7]]


def test_a_snapshot_that_was_replaced_meanwhile_is_read_from_json(lake: TestLake) -> None:
    lake.put(SNAPSHOT_DAY, "1.gz", lake.lines([A], "SNAPSHOT"), run="one")
    point_snapshot(lake.clients, lake.names, lake.names.snapshot_run("one"))
    converted = lake.convert(NOW)
    lake.put(SNAPSHOT_DAY, "1.gz", lake.lines([A, B], "SNAPSHOT"), run="two")
    point_snapshot(lake.clients, lake.names, lake.names.snapshot_run("two"))
    assert not publish_table(lake.clients, lake.names, converted, lake.options, NOW).snapshot
    assert not read_watermark(lake.clients, lake.names).snapshot
    assert lake.run(NOW).snapshot
    assert len(rows(lake, SNAPSHOT_DAY)) == 2


def test_a_key_that_has_null_is_still_there_when_raw_lines_are_written_again(lake: TestLake) -> None:
    many = {"gone": {"NULL": True}, **{f"k{n:03}": {"N": str(n)} for n in range(101)}}
    lake.put(DAY, "1.gz", lake.lines([{**A, "m": {"M": many}}]))
    lake.run(NOW)
    before = dict(rows(lake, DAY)[0]["m"])
    assert (len(before), before["gone"]) == (102, None)
    for key in lake.objects(lake.names.raw_day(DAY)):
        lake.clients.s3.delete_object(Bucket=lake.names.lake.bucket, Key=key)
    lake.run(NOW, [DAY], "again")
    assert dict(rows(lake, DAY)[0]["m"]) == before
