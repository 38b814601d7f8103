"""What a run converts, and how far the watermark goes: pure decisions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from dynalake.catalog.partitions import Partition
from dynalake.catalog.raw import RawObject
from dynalake.catalog.schema import TableSchema
from dynalake.catalog.types import observe
from dynalake.catalog.views import Watermark
from dynalake.compact.options import CompactOptions
from dynalake.compact.plan import (
    INPUTS,
    PartitionPlan,
    RawDay,
    inputs_digest,
    is_closed,
    look_from,
    plan_compaction,
    plan_watermark,
)
from dynalake.compact.publish import plan_hold, plan_reconversion
from dynalake.compact.supersede import Superseded, plan_superseded
from dynalake.errors import SettingsError
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
    )
    assert [(p.day, p.reason) for p in plans] == [("00000000", "new"), ("20240102", "changed"), ("20240103", "new")]
    assert PartitionPlan.from_dict(plans[0].to_dict()) == plans[0]


def test_named_days_and_only_they_are_planned_open_ones_too() -> None:
    found = raw(d00000000="s", d20240103="c", d20240104="open")
    plans = plan_compaction("T", found, {}, NOW, days=["20240104"])
    assert [(p.day, p.reason) for p in plans] == [("20240104", "asked")]
    assert plan_compaction("T", found, published(d20240104="open"), NOW, days=["20240104"]) == ()
    with pytest.raises(SettingsError):
        plan_compaction("T", found, {}, NOW, days=["2024-01-04"])


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
        plans = plan_compaction("T", days, {}, at, zone=ZoneInfo(zone))
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


def test_only_days_since_shortly_before_the_watermark_are_looked_at() -> None:
    assert look_from(Watermark(), 7) == ""
    assert look_from(Watermark("20240301"), 7) == "20240223"


def test_the_digest_is_over_what_lies_there_in_any_order() -> None:
    a, b = RawObject("a", "1", 10, 5.0), RawObject("b", "2", 10)
    assert inputs_digest([a, b], CompactOptions()) == inputs_digest([b, RawObject("a", "1", 10)], CompactOptions())
    assert inputs_digest([a], CompactOptions()) != inputs_digest([RawObject("a", "3", 10)], CompactOptions())
    assert inputs_digest([a], CompactOptions()) != inputs_digest([a], CompactOptions(format="orc"))


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
    notes = {
        "old": Superseded("20240101", "v=1/", 76 * hour),
        "young": Superseded("20240101", "v=2/", 77 * hour),
        "shown again": Superseded("20240102", "v=3/", 99 * hour),
        "never shown": Superseded("20240103", "v=4/", 10 * hour),
    }
    due = plan_superseded(notes, {"20240101": "v=9/", "20240102": "v=3/"}, now, 24)
    assert due == ("never shown", "old", "shown again")


def test_options_say_what_is_allowed() -> None:
    assert CompactOptions.from_dict(CompactOptions().to_dict()) == CompactOptions()
    for wrong in ({"format": "csv"}, {"codec": "rar"}, {"part_mb": 0}, {"max_quarantined": -1}):
        with pytest.raises(SettingsError):
            CompactOptions(**wrong)
