"""What a run converts, and how far the watermark goes: pure decisions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from dynalake.catalog.partitions import Partition
from dynalake.catalog.views import Watermark
from dynalake.compact.manifest import ConvertedPartition
from dynalake.compact.plan import (
    INPUTS,
    OBJECTS,
    WRITTEN,
    PartitionPlan,
    RawDay,
    inputs_digest,
    is_closed,
    last_closed,
    look_from,
    plan_compaction,
    plan_watermark,
)
from dynalake.compact.publish import plan_stale
from dynalake.compact.supersede import Note, plan_superseded
from dynalake.compact.widen import plan_hold, plan_reconversion
from dynalake.convert.options import CompactOptions
from dynalake.convert.read.raw import RawObject
from dynalake.days import shift_day
from dynalake.errors import SettingsError
from dynalake.lake.schema import TableSchema
from dynalake.lake.types import observe
from tests.unit.compact.lake import KEY, noon

NOW = noon("20240104")


def raw(**days: str) -> dict[str, RawDay]:
    return {day.removeprefix("d"): RawDay(day.removeprefix("d"), inputs, 1, 10) for day, inputs in days.items()}


def published(**days: str) -> dict[str, Partition]:
    return {d.removeprefix("d"): Partition(d.removeprefix("d"), "s3://b/", {INPUTS: i}) for d, i in days.items()}


def test_due_is_what_is_closed_and_not_made_from_what_lies_there() -> None:
    plans = plan_compaction(
        "T",
        raw(d00000000="s", d20240101="a", d20240102="b2", d20240103="c", d20240104="open"),
        published(d20240101="a", d20240102="b1"),
        NOW,
        CompactOptions(),
    )
    assert [(p.day, p.reason) for p in plans] == [("00000000", "new"), ("20240102", "changed"), ("20240103", "new")]
    assert PartitionPlan.from_dict(plans[0].to_dict()) == plans[0]


def test_named_days_and_only_they_are_planned_open_ones_too() -> None:
    found = raw(d00000000="s", d20240103="c", d20240104="open")
    options, asked = CompactOptions(), ["20240104"]
    plans = plan_compaction("T", found, {}, NOW, options, days=asked)
    assert [(p.day, p.reason) for p in plans] == [("20240104", "asked")]
    done = published(d20240104="open")
    done["20240104"].parameters[WRITTEN] = options.written
    assert plan_compaction("T", found, done, NOW, options, days=asked) == ()
    (orc,) = plan_compaction("T", found, done, NOW, CompactOptions(format="orc"), days=asked)
    assert orc.reason == "asked"
    (forced,) = plan_compaction("T", found, done, NOW, options, days=asked, force="run 7")
    assert forced.force == "run 7"
    with pytest.raises(SettingsError):
        plan_compaction("T", found, {}, NOW, options, days=["2024-01-04"])


def test_another_format_is_for_the_days_that_are_named() -> None:
    """Else a run in another format would convert the last days, and the nightly one would convert them back."""
    done = published(d20240103="c")
    done["20240103"].parameters[WRITTEN] = CompactOptions(format="orc").written
    assert plan_compaction("T", raw(d20240103="c"), done, NOW, CompactOptions()) == ()


def test_of_two_conversions_the_one_that_read_more_stays() -> None:
    def read(inputs: str, objects: int) -> ConvertedPartition:
        return ConvertedPartition("T", "20240101", inputs, "", objects, 0, 0, 0, 0, 0, 0, 0, 0)

    shown = published(d20240101="2 objects")
    shown["20240101"].parameters[OBJECTS] = "2"
    there = raw(d20240101="3 objects")
    assert plan_stale([read("1 object", 1)], there, shown) == ("20240101",)
    assert plan_stale([read("2 objects", 2)], there, shown) == ()
    assert plan_stale([read("3 objects", 3)], there, shown) == ()
    assert plan_stale([read("1 object", 1)], there, {}) == ()
    # Somebody took an object away: what lies there counts.
    assert plan_stale([read("one left", 1)], raw(d20240101="one left"), shown) == ()
    assert plan_stale([read("3 objects", 3)], raw(d20240101="2 objects"), shown) == ("20240101",)


def test_a_day_is_closed_some_time_after_its_end() -> None:
    assert not is_closed("20240103", datetime(2024, 1, 4, 0, 59, tzinfo=UTC), 1)
    assert is_closed("20240103", datetime(2024, 1, 4, 1, 0, tzinfo=UTC), 1)
    assert is_closed("00000000", NOW, 1)


@pytest.mark.parametrize(
    ("zone", "day", "end"),
    [
        ("UTC", "20240103", "2024-01-04T00:00:00Z"),
        # East of UTC a day is over before UTC's, west of it after.
        ("Pacific/Auckland", "20240103", "2024-01-03T11:00:00Z"),
        ("Asia/Kolkata", "20240103", "2024-01-03T18:30:00Z"),
        ("Pacific/Pago_Pago", "20240103", "2024-01-04T11:00:00Z"),
        # 23 and 25 hours.
        ("Europe/Berlin", "20240330", "2024-03-30T23:00:00Z"),
        ("Europe/Berlin", "20240331", "2024-03-31T22:00:00Z"),
        ("Europe/Berlin", "20241026", "2024-10-26T22:00:00Z"),
        ("Europe/Berlin", "20241027", "2024-10-27T23:00:00Z"),
        ("Pacific/Auckland", "20240407", "2024-04-07T12:00:00Z"),
        # There is no midnight: the clock goes from 24:00 to 1:00.
        ("Africa/Cairo", "20240425", "2024-04-25T22:00:00Z"),
        # The clock goes back from 24:00 to 23:00.
        ("Africa/Cairo", "20241031", "2024-10-31T22:00:00Z"),
        # Midnight comes twice, at the start of the new day.
        ("America/Havana", "20241102", "2024-11-03T05:00:00Z"),
    ],
)
def test_a_day_is_closed_some_time_after_its_end_in_the_lake_s_zone(zone: str, day: str, end: str) -> None:
    over = datetime.fromisoformat(end) + timedelta(hours=1)
    assert not is_closed(day, over - timedelta(microseconds=1), 1, ZoneInfo(zone))
    assert is_closed(day, over, 1, ZoneInfo(zone))
    # Whatever zone the moment itself is written in.
    assert is_closed(day, over.astimezone(ZoneInfo(zone)), 1, ZoneInfo(zone))
    local = over.astimezone(ZoneInfo("America/St_Johns")) - timedelta(seconds=1)
    assert not is_closed(day, local, 1, ZoneInfo(zone))


def test_the_plan_and_the_watermark_go_by_the_zone() -> None:
    at = datetime(2024, 1, 3, 12, tzinfo=UTC)
    days = raw(d20240102="a", d20240103="b")
    found = published(d20240102="a", d20240103="b")
    for zone, closed in (("Pacific/Auckland", ["20240102", "20240103"]), ("UTC", ["20240102"])):
        plans = plan_compaction("T", days, {}, at, CompactOptions(), zone=ZoneInfo(zone))
        assert [plan.day for plan in plans] == closed
        assert plan_watermark(Watermark(), days, found, at, zone=ZoneInfo(zone)).through == closed[-1]


@pytest.mark.parametrize(
    ("done", "through"),
    [
        ({}, ""),
        ({"d20240101": "a"}, "20240101"),
        ({"d20240101": "a", "d20240103": "c"}, "20240101"),
        ({"d20240101": "a", "d20240102": "b", "d20240103": "c"}, "20240103"),
        ({"d20240101": "a", "d20240102": "other", "d20240103": "c"}, "20240101"),
        ({"d20240101": "a", "d20240102": "b", "d20240103": "c", "d20240104": "open"}, "20240103"),
    ],
)
def test_the_watermark_stops_before_the_first_day_that_is_not_compacted(done: dict[str, str], through: str) -> None:
    found = raw(d20240101="a", d20240102="b", d20240103="c", d20240104="open")
    assert plan_watermark(Watermark(), found, published(**done), NOW) == Watermark(through)


def test_the_watermark_never_goes_back_and_knows_the_snapshot() -> None:
    mark = Watermark("20240103")
    late = raw(d20240102="late")
    assert plan_watermark(mark, late, published(d20240102="b", d00000000="s"), NOW) == Watermark("20240103", True)


@pytest.mark.parametrize(
    ("at", "zone", "day"),
    [
        ("2024-01-02T02:00:00Z", "UTC", "20240101"),
        ("2024-01-02T01:00:00Z", "UTC", "20240101"),
        ("2024-01-02T00:59:59Z", "UTC", "20231231"),
        ("2024-01-02T02:00:00Z", "Europe/Berlin", "20240101"),
        ("2024-01-02T02:00:00Z", "America/Los_Angeles", "20231231"),
        ("2024-01-02T02:00:00Z", "Pacific/Auckland", "20240101"),
        # Midnight comes twice.
        ("2024-11-03T05:30:00Z", "America/Havana", "20241101"),
        ("2024-11-03T06:00:00Z", "America/Havana", "20241102"),
    ],
)
def test_a_run_is_about_the_day_that_was_closed_last(at: str, zone: str, day: str) -> None:
    assert last_closed(datetime.fromisoformat(at), 1, ZoneInfo(zone)) == day


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/Los_Angeles", "Pacific/Auckland", "Africa/Cairo"])
def test_the_nightly_runs_of_a_year_are_about_every_day_of_it_once(zone: str) -> None:
    nights = [datetime(2024, 1, 2, 2, tzinfo=UTC) + timedelta(days=n) for n in range(366)]
    days = [last_closed(night, 1, ZoneInfo(zone)) for night in nights]
    assert days == [shift_day(days[0], n) for n in range(366)]


def test_only_days_since_shortly_before_the_watermark_are_looked_at() -> None:
    assert look_from(Watermark(), 7) == ""
    assert look_from(Watermark("20240301"), 7) == "20240223"


def test_the_digest_is_over_what_lies_there_in_any_order() -> None:
    a, b = RawObject("a", "1", 10, 5.0), RawObject("b", "2", 10)
    assert inputs_digest([a, b]) == inputs_digest([b, RawObject("a", "1", 10)])
    assert inputs_digest([a]) != inputs_digest([RawObject("a", "3", 10)])
    assert inputs_digest([a]) != inputs_digest([a, b])


def test_a_widening_holds_the_views_back_before_the_first_day_it_touches() -> None:
    with_a = TableSchema.of_key(KEY).widen({"a": observe(1)})
    without = TableSchema.of_key(KEY)
    versions = {"00000000": without, "20240101": without, "20240103": with_a, "20240104": with_a}
    assert plan_hold(Watermark("20240105", True), ["a"], versions) == Watermark("20240102", True)
    assert plan_hold(Watermark("20240105", True), ["b"], versions) == Watermark("20240105", True)
    assert plan_hold(Watermark("20240105", True), ["a"], {"00000000": with_a}) == Watermark("20240105", False)
    target = with_a.widen({"a": observe("x")})
    assert plan_reconversion(target, versions) == ("20240103", "20240104")


def test_a_note_is_due_after_the_grace_period_or_when_its_version_is_shown_again() -> None:
    hour = 3600.0
    now = datetime.fromtimestamp(100 * hour, UTC)
    old = Note("old", "20240101", "1", 76 * hour)
    young = Note("young", "20240101", "2", 77 * hour)
    again = Note("shown again", "20240102", "3", 99 * hour)
    never = Note("never shown", "20240103", "4", 10 * hour)
    due, settled = plan_superseded([old, young, again, never], {"20240101": "9", "20240102": "3"}, now, 24)
    assert (due, settled) == ((old, never), (again,))


def test_options_say_what_is_allowed() -> None:
    assert CompactOptions.from_dict(CompactOptions().to_dict()) == CompactOptions()
    for wrong in ({"format": "csv"}, {"codec": "rar"}, {"part_mb": 0}, {"max_quarantined": -1}):
        with pytest.raises(SettingsError):
            CompactOptions(**wrong)
