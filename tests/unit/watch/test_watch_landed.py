"""What landed: the newest, the days readers see, the values that do not fit."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from dynalake.catalog.partitions import Partition
from dynalake.catalog.views import Watermark
from dynalake.convert.read.raw import RawObject
from dynalake.lake.schema import TableSchema
from dynalake.lake.types import Type, observe
from dynalake.names import Lake
from dynalake.record.key import ItemKey, KeyAttribute
from dynalake.watch.gather import plan_landing, plan_lost, plan_waiting
from dynalake.watch.judge import Targets
from dynalake.watch.landed import Sample, landed_since, newest_of, plan_days, plan_misfits
from dynalake.watch.metrics import plan_metrics, recent
from dynalake.watch.readings import Capture, Day, Landing, Misfit, Readings

NAMES = Lake("dev", "1", "eu-west-1").table("RECEIPTS")
SCHEMA = TableSchema.of_key(ItemKey(KeyAttribute("id", "S"))).widen({"n": observe(1), "m": observe({"a": "x"})})


def raw(key: str, modified: float, size: int = 10) -> RawObject:
    return RawObject(key, "etag", size, modified)


LANDED = {"20240101": [], "20240102": [raw("a", 100.0), raw("b", 300.0)], "20240103": [raw("c", 200.0)]}


def test_the_newest_is_the_one_that_landed_last_of_whatever_day() -> None:
    assert newest_of(LANDED) == raw("b", 300.0)
    assert newest_of({}) is None
    assert [o.key for o in landed_since(LANDED, 100_000)] == ["c", "b"]
    assert [o.key for o in landed_since(LANDED, None)] == ["a", "c", "b"]


def test_days_are_parquet_up_to_the_watermark_and_json_behind_it() -> None:
    parameters = {"numRows": "7", "totalSize": "70", "numFiles": "1"}
    partitions = {day: Partition(day, "s3://…", parameters) for day in ("00000000", "20240101", "20240103")}
    before = [Day("20240102", None, 5, 5)]
    shown = plan_days(partitions, LANDED, Watermark("20240101", True), before)
    assert shown == (
        Day("00000000", 7, 70, 1),
        Day("20240101", 7, 70, 1),
        Day("20240102", None, 20, 2),
        Day("20240103", None, 10, 1),
    )
    unlisted = plan_days({}, {"20240102": []}, Watermark(), before)
    assert unlisted == (Day("20240102", None, 5, 5),), "what was known stays"


def test_what_is_replayed_does_not_make_the_newest_change_older() -> None:
    none: dict[str, Any] = dict.fromkeys(plan_metrics(NAMES, "uuid", "kinesis"), ())

    def land(sample: Sample | None, before: Landing) -> Landing:
        return plan_landing(none, LANDED, sample, before, 400_000, Targets(), None)

    first = land(Sample({}, {}, 240_000, 300_000), Landing())
    assert (first.newest_object, first.newest_landed, first.newest_change, first.lag_seconds) == (
        "b",
        300_000,
        240_000,
        60,
    )
    assert land(Sample({}, {}, 1_000, 300_000), first) == first
    assert land(Sample({}, {}, None, None), first) == first
    assert land(None, first) == first


def test_what_was_lost_stays_so_until_somebody_says_that_it_is_repaired() -> None:
    now = Readings(9_000, capture=Capture("uuid", "Enabled"))
    dropped = [(5_000, 2.0)]
    assert plan_lost(now, [], Readings(0)) is None
    assert plan_lost(now, dropped, Readings(0)) == 5_000
    assert plan_lost(now, [], Readings(0, lost_at=4_000)) == 4_000
    assert plan_lost(now, dropped, Readings(0, lost_at=7_000)) == 7_000
    assert plan_lost(now, dropped, Readings(0, repaired_at=5_000)) is None, "the metric still tells of it for a day"
    assert plan_lost(now, [*dropped, (6_000, 1.0)], Readings(0, repaired_at=5_000)) == 6_000


def test_closed_days_wait_until_the_watermark_passes_them() -> None:
    days = ["20240101", "20240102", "20240103"]
    now = datetime(2024, 1, 3, 0, 30, tzinfo=UTC)
    assert plan_waiting(days, Watermark(), now, NAMES) == ("20240101",)
    later = now.replace(hour=1)
    assert plan_waiting(days, Watermark(), later, NAMES) == ("20240101", "20240102")
    assert plan_waiting(days, Watermark("20240101"), later, NAMES) == ("20240102",)
    assert plan_waiting(days, Watermark("20240102"), later, NAMES) == ()


def misfits(observed: dict[str, Type], before: tuple[Misfit, ...] = (), through: str = "") -> tuple[Misfit, ...]:
    return plan_misfits(SCHEMA, observed, "20240103", before, through)


def test_values_that_do_not_fit_are_known_until_their_day_is_compacted() -> None:
    assert misfits({"n": observe(2), "m": observe({"a": "y"}), "new": observe(1)}) == ()
    found = misfits({"n": observe("text"), "m": observe({"b": 1})})
    assert [(m.column, m.day, m.needs) for m in found] == [
        ("m", "20240103", "struct<a:string,b:bigint>"),
        ("n", "20240103", "string"),
    ]
    assert misfits({}, found, "20240102") == found
    assert misfits({}, found, "20240103") == ()
    widened = SCHEMA.widen({"n": observe("text"), "m": observe({"b": 1})})
    assert plan_misfits(widened, {}, "20240103", found, "") == ()


def test_metrics_are_those_of_the_tables_own_way() -> None:
    kinesis, direct = plan_metrics(NAMES, "uuid", "kinesis"), plan_metrics(NAMES, "uuid", "direct")
    assert kinesis["stream_throttled"].value == NAMES.stream
    assert kinesis["firehose_age"].value == NAMES.delivery_stream
    assert direct["firehose_age"].value == direct["delivery_throttled"].value == NAMES.direct_delivery_stream
    assert "stream_throttled" not in direct
    assert {metric.value for metric in kinesis.values() if metric.namespace == "AWS/Lambda"} == {
        "uuid",
        NAMES.lake.forwarder,
    }


def test_a_period_counts_as_recent_while_it_reaches_into_the_time() -> None:
    points = [(0, 1.0), (300_000, 2.0), (600_000, 3.0)]
    assert recent(points, 900_000, 10) == [2.0, 3.0]
    assert recent(points, 899_999, 10) == [1.0, 2.0, 3.0]
