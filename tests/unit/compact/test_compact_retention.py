"""Raw objects are deleted when their Parquet has been checked, and come back when somebody needs them."""

from __future__ import annotations

import gzip
import json
import random
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest

from dynalake.catalog.partitions import Partition, list_partitions, point_snapshot
from dynalake.catalog.tables import read_schema
from dynalake.catalog.views import Watermark
from dynalake.compact.plan import QUARANTINED
from dynalake.compact.publish import publish_table
from dynalake.compact.retain import delete_raw, plan_retention
from dynalake.convert.options import CompactOptions
from dynalake.convert.read import records as read
from dynalake.convert.read.raw import parse_line
from dynalake.days import SNAPSHOT_DAY, shift_day
from dynalake.errors import LedgerError
from tests.aws.test_compact_athena import CONTAINERS, SCALARS
from tests.unit.catalog.recover import recover
from tests.unit.compact.lake import TestLake, noon
from tests.unit.compact.test_compact_flow import DAY, A, B, Killed, killing, rows

IMAGES: list[Any] = [
    {**A, "n": {"N": str(n)}, **image} for n, image in enumerate([*CONTAINERS, *(s for s, _ in SCALARS)])
]
LAST = shift_day(DAY, 30)
NOW = noon(shift_day(LAST, 1))
KEPT = 10


def fill(lake: TestLake, lines: list[str]) -> None:
    """A day with these lines, and one so much later that the first is out of anybody's sight."""
    lake.put(DAY, "1.gz", lines)
    lake.run(noon(shift_day(DAY, 1)))
    lake.put(LAST, "1.gz", lake.lines([B]))
    lake.run(NOW)


def raw(lake: TestLake, day: str = DAY) -> set[str]:
    return set(lake.objects(lake.names.raw_day(day)))


def retain(lake: TestLake, days: int = KEPT) -> tuple[str, ...]:
    return delete_raw(lake.clients, lake.names, lake.options, days, NOW)


def items(lake: TestLake, day: str = DAY) -> list[dict[str, Any]]:
    schema = read_schema(lake.clients, lake.names)
    kinds = {c.name: c.type for c in schema.columns}
    return [{name: recover(v, kinds[name]) if name in kinds else v for name, v in r.items()} for r in rows(lake, day)]


def test_off_by_default_and_only_what_is_old_enough(lake: TestLake) -> None:
    fill(lake, lake.lines([A]))
    assert retain(lake, 0) == ()
    assert retain(lake, 40) == ()
    assert retain(lake) == (DAY,)
    assert raw(lake) == set()
    assert raw(lake, LAST) != set()
    assert len(rows(lake, DAY)) == 1
    assert retain(lake) == ()
    assert not lake.run(NOW).changed


def test_nothing_but_the_days_of_this_table_is_deleted(lake: TestLake) -> None:
    """Not the snapshot, however old; not another table whose name begins alike; not what somebody put beside."""
    snapshot = lake.put(SNAPSHOT_DAY, "1.gz", lake.lines([B], "SNAPSHOT"), run="scan-1")
    point_snapshot(lake.clients, lake.names, lake.names.snapshot_run("scan-1"))
    other = TestLake(lake.clients, lake.names.lake.table("RECEIPTS_OLD"))
    others = other.put(DAY, "1.gz", other.lines([A]))
    lake.clients.s3.put_object(Bucket=lake.names.lake.bucket, Key=f"{lake.names.raw_prefix}dt=notes/1.txt", Body=b"x")
    fill(lake, lake.lines([A]))
    assert retain(lake) == (DAY,)
    kept = {snapshot, others, f"{lake.names.raw_prefix}dt=notes/1.txt", *raw(lake, LAST)}
    assert set(lake.objects("dynamodb/json/")) == kept
    assert raw(lake, LAST)


def test_which_days_are_old_enough() -> None:
    checked = {QUARANTINED: "0"}
    published = {day: Partition(day, "", checked) for day in ("20240101", "20240110", "20240120")}
    published["20240102"] = Partition("20240102", "", {QUARANTINED: "1"})
    days = ["20240101", "20240102", "20240103", "20240110", "20240120"]
    mark = Watermark("20240120")
    assert plan_retention(days, published, mark, "20240201", 0, 7) == ()
    assert plan_retention(days, published, mark, "20240201", 25, 7) == ("20240101",)
    assert plan_retention(days, published, mark, "20240201", 1, 7) == ("20240101", "20240110")
    assert plan_retention(days, published, Watermark("20240105"), "20240201", 1, 7) == ()
    assert plan_retention(days, published, Watermark(), "20240201", 1, 7) == ()


def test_what_came_late_or_is_in_quarantine_keeps_the_day(lake: TestLake) -> None:
    fill(lake, [*lake.lines([A]), "broken"])
    assert retain(lake) == ()
    other = TestLake(lake.clients, lake.names, lake.options, lake.sequence)
    other.put(DAY, "2.gz", other.lines([B]))
    assert retain(lake) == ()
    assert len(raw(lake)) == 2


def test_rows_that_are_not_in_the_files_keep_the_day(lake: TestLake) -> None:
    fill(lake, lake.lines([A, B]))
    (part,) = lake.objects(f"{lake.names.parquet_prefix}dt={DAY}/")
    (one,) = lake.objects(f"{lake.names.parquet_prefix}dt={LAST}/")
    lake.clients.s3.put_object(Bucket=lake.names.lake.bucket, Key=part, Body=lake.body(one))
    with pytest.raises(LedgerError, match="has 0 rows by its footers, its manifest 2"):
        retain(lake)
    assert len(raw(lake)) == 1


def test_killed_between_any_two_steps_it_deletes_what_was_checked_and_nothing_else(lake: TestLake) -> None:
    fill(lake, lake.lines([A]))
    clients = lake.clients
    for step in range(6):
        lake.clients, _ = killing(clients, step)
        try:
            retain(lake)
            break
        except Killed:
            pass
        finally:
            lake.clients = clients
            lake.end_lease()
            # It comes late, after the check: it must survive all runs.
            late = lake.put(DAY, "late.gz", lake.lines([B])) if step == 3 else None
    retain(lake)
    assert raw(lake) == ({late} if late else raw(lake) & {lake.names.raw_day(DAY) + "late.gz"})
    assert len(rows(lake, DAY)) == 1
    assert lake.run(NOW, [DAY]).days == (DAY,)
    assert len(rows(lake, DAY)) == (2 if raw(lake) & {lake.names.raw_day(DAY) + "late.gz"} else 1)


@pytest.mark.parametrize("file_format", ["parquet", "orc"])
def test_a_day_without_raw_objects_is_converted_again_from_its_parquet(lake: TestLake, file_format: str) -> None:
    lake.options = CompactOptions(format=file_format)
    if file_format == "orc":
        lake.put(DAY, "1.gz", lake.lines(IMAGES))
        lake.run(noon(shift_day(DAY, 1)))
        lake.options = CompactOptions()
        lake.run(noon(shift_day(DAY, 1)), [DAY])
        before = items(lake)
        lake.options = CompactOptions(format="orc")
        lake.run(noon(shift_day(DAY, 1)), [DAY])
        lake.put(LAST, "1.gz", lake.lines([B]))
        lake.run(NOW)
    else:
        fill(lake, lake.lines(IMAGES))
        before = items(lake)
    assert retain(lake) == (DAY,)
    lake.options = CompactOptions(codec="gzip")
    assert lake.run(NOW, [DAY]).days == (DAY,)
    assert items(lake) == before
    assert all("restored-" in key for key in raw(lake))
    lake.options = CompactOptions()
    assert retain(lake) == (DAY,)


def test_the_lines_that_come_back_are_those_that_were_there(lake: TestLake) -> None:
    lines = lake.lines(IMAGES)
    fill(lake, lines)
    retain(lake)
    lake.run(NOW, [DAY], force="run")
    (key,) = raw(lake)
    found = [parse_line(line) for line in gzip.decompress(lake.body(key)).splitlines()]
    expected = [parse_line(line.encode()) for line in lines]
    by_number = {record["__sequence_number"]: record for record in found}
    assert [without_nulls(by_number[e["__sequence_number"]]) for e in expected] == [without_nulls(e) for e in expected]


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        # A map that was never more than empty is null in the file where it is not there, and empty where it is.
        return {k: without_nulls(v) for k, v in value.items() if v is not None}
    return [without_nulls(v) for v in value] if isinstance(value, list) else value


@pytest.mark.parametrize("by", ["the retention", "a lifecycle rule"])
def test_a_wider_type_brings_the_raw_objects_back_first(lake: TestLake, by: str) -> None:
    """While types change the views read these days from JSON, and then from Parquet that is made anew."""
    fill(lake, lake.lines([{**A, "v": {"N": "1"}}]))
    other = shift_day(DAY, 1)
    lake.put(other, "1.gz", lake.lines([A]))
    lake.run(NOW, [other])
    if by == "the retention":
        assert retain(lake) == (DAY, other)
    else:
        for key in raw(lake) | raw(lake, other):
            lake.clients.s3.delete_object(Bucket=lake.names.lake.bucket, Key=key)
    lake.put(LAST, "2.gz", lake.lines([{**A, "v": {"S": "x"}}]))
    published = lake.run(NOW)
    assert (published.widened, published.days) == (("v",), (DAY, LAST))
    # The second day has no value in the column, but lies behind the day from which the views were held back.
    assert raw(lake)
    assert raw(lake, other)
    assert [r["v"] for r in rows(lake, DAY)] == ["1"]
    assert len(rows(lake, other)) == 1
    assert sorted(r["v"] for r in rows(lake, LAST) if r["v"]) == ['"x"']


def test_a_conversion_under_which_raw_objects_were_deleted_is_not_published(lake: TestLake) -> None:
    fill(lake, lake.lines([A, B]))
    converted = lake.convert(NOW, [DAY], force="run")
    assert retain(lake) == (DAY,)
    published = publish_table(lake.clients, lake.names, converted, lake.options, NOW)
    assert (published.days, published.skipped) == ((), (DAY,))
    assert len(rows(lake, DAY)) == 2


def test_the_list_of_what_is_deleted_is_kept(lake: TestLake) -> None:
    fill(lake, lake.lines([A]))
    before = raw(lake)
    retain(lake)
    assert set(json.loads(lake.body(lake.names.raw_deleted_note(DAY)))) == before
    (partition,) = [
        p for day, p in list_partitions(lake.clients, lake.names, lake.names.typed_table).items() if day == DAY
    ]
    assert partition.parameters["dynalake.raw-deleted"] == lake.names.raw_deleted_note(DAY)
    assert pa.concat_tables(lake.published(DAY)).num_rows == 1
    assert timedelta(days=KEPT) < NOW - noon(DAY)


def test_a_conversion_that_lost_its_objects_is_not_published_when_others_are_back(
    lake: TestLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The retention comes between two of its reads, and then a widened type brings the raw objects back."""
    old = shift_day(DAY, -1)
    lake.put(old, "1.gz", lake.lines([{**A, "v": {"N": "1"}}]))
    for number in range(3):
        lake.put(DAY, f"{number}.gz", lake.lines([{**A, "n": {"N": str(number)}}]))
    lake.run(noon(shift_day(DAY, 1)))
    lake.put(LAST, "1.gz", lake.lines([B]))
    lake.run(NOW)
    opened, reads = read.open_object, []

    def meanwhile(*arguments: Any) -> Any:
        reads.append(arguments)
        if len(reads) == 2:
            assert retain(lake) == (old, DAY)
        return opened(*arguments)

    monkeypatch.setattr(read, "open_object", meanwhile)
    (converted,) = lake.convert(NOW, [DAY], force="again")
    monkeypatch.undo()
    assert converted.reasons == {read.DELETED: 2}
    lake.put(shift_day(LAST, 1), "1.gz", lake.lines([{**B, "v": {"S": "x"}}]))
    lake.run(noon(shift_day(LAST, 2)))
    assert raw(lake) != set(), "held views read the day from JSON"
    published = publish_table(lake.clients, lake.names, [converted], lake.options, noon(shift_day(LAST, 2)))
    assert published.skipped == (DAY,)
    assert len(rows(lake, DAY)) == 3


def test_what_came_back_for_held_views_is_deleted_again(lake: TestLake, monkeypatch: pytest.MonkeyPatch) -> None:
    """The days that were not converted for the wider type have it still: nor do days that cannot go stop the others."""
    days = [shift_day(DAY, n) for n in range(6)]
    lake.put(days[0], "1.gz", lake.lines([{**A, "v": {"N": "1"}}]))
    for day in days[1:]:
        lake.put(day, "1.gz", lake.lines([A]))
    lake.run(noon(shift_day(days[-1], 1)))
    lake.put(LAST, "1.gz", lake.lines([B]))
    lake.run(NOW)
    assert retain(lake) == tuple(days)
    lake.put(shift_day(LAST, 1), "1.gz", lake.lines([{**B, "v": {"S": "x"}}]))
    lake.run(noon(shift_day(LAST, 2)))
    assert all(raw(lake, day) for day in days)
    monkeypatch.setattr("dynalake.compact.retain.DAYS_AT_ONCE", 2)
    lake.put(days[1], "late.gz", lake.lines([A]))
    assert retain(lake) == (days[0], days[2])
    assert retain(lake) == (days[3], days[4])
    assert retain(lake) == (days[5],)
    assert [day for day in days if raw(lake, day)] == [days[1]]


def test_killed_while_a_day_that_a_rule_has_emptied_is_written_again(lake: TestLake) -> None:
    """A part of its objects is never taken for all of them."""
    noise = random.Random(1)
    lake.options = CompactOptions(part_mb=1, row_group_mb=1)
    fill(lake, lake.lines([{**A, "n": {"N": str(n)}, "t": {"S": noise.randbytes(3000).hex()}} for n in range(1000)]))
    assert len(lake.published(DAY)) > 1
    clients, finished, after = lake.clients, False, 0
    while not finished:
        for key in raw(lake):
            clients.s3.delete_object(Bucket=lake.names.lake.bucket, Key=key)
        lake.clients, _ = killing(clients, after)
        try:
            lake.convert(NOW, [DAY], force=f"killed {after}")
            finished = True
        except Killed:
            pass
        lake.clients = clients
        lake.end_lease()
        assert lake.run(NOW, [DAY], force=f"again {after}").days == (DAY,)
        assert sum(part.num_rows for part in lake.published(DAY)) == 1000
        after += 1
    assert after > 5
