"""The history of a table's freshness: bounded, and the worst of each hour."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

from hypothesis import given
from hypothesis import strategies as st

from dynalake.lake.columns.column import Column
from dynalake.lake.columns.schema import TableSchema
from dynalake.lake.types.union import MIXED, TEXT
from dynalake.record.key import ItemKey, KeyAttribute
from dynalake.watch.history import APART_MS, DAY_MS, HOUR_MS, History, Point, add_look, point_of
from dynalake.watch.judge import STATES, Targets
from dynalake.watch.readings import Capture, Held, Lake, Landing, Readings, SeenColumn
from dynalake.watch.seen_schema import see_columns, see_held
from dynalake.watch.status import OVERVIEW_HOURS, TableStatus

NOON = 1_700_000_000_000 // DAY_MS * DAY_MS + 12 * HOUR_MS


@given(st.lists(st.tuples(st.integers(1, 3 * HOUR_MS), st.sampled_from(STATES), st.floats(0, 1e6)), max_size=400))
def test_a_history_is_bounded_and_keeps_the_worst(looks: list[tuple[int, str, float]]) -> None:
    history, at = History(), NOON
    seen: list[Point] = []
    for step, state, lag in looks:
        at += step
        seen.append(Point(at, None, lag, 0.0, state))
        history = add_look(history, seen[-1])
    assert len(history.looks) <= DAY_MS // APART_MS + 2
    assert len(history.hours) <= 7 * 24
    if seen:
        assert history.looks[-1] == seen[-1]
        for hour in history.hours:
            same = [p for p in seen if p.at - p.at % HOUR_MS == hour.at]
            assert hour.lag == max(p.lag or 0.0 for p in same)
            assert hour.state == max((p.state for p in same), key=STATES.index)
    assert History.from_dict(json.loads(json.dumps(asdict(history)))) == history


def test_a_point_says_how_old_and_how_late_readings_are() -> None:
    lake = Lake(newest_change=NOON - 90_000, unconverted_since=NOON - 30_000)
    well = Readings(NOON, hand_off=1, landing=Landing(40.0, lag_seconds=70.0), lake=lake)
    assert point_of(well, "ok") == Point(NOON, 90.0, 70.0, 30.0, "ok")
    waits = replace(well, capture=Capture(invoked=5, iterator_age_seconds=600.0))
    assert point_of(waits, "late").lag == 600.0
    stuck = replace(well, landing=Landing(unlanded_since=NOON - 900_000))
    assert point_of(stuck, "late").lag == 900.0
    assert point_of(Readings(NOON), "ok") == Point(NOON, None, None, 0.0, "ok")


def test_a_status_goes_on_with_its_history_and_the_overview_has_a_part_of_it() -> None:
    status: TableStatus | None = None
    for hour in range(30):
        at = NOON + hour * HOUR_MS
        readings = Readings(at, hand_off=1, lake=Lake(columns=(SeenColumn("a", "a", "string"),), queries={"sql": "x"}))
        status = TableStatus.of("RECEIPTS", readings, Targets(), status)
    assert status is not None
    assert len(status.history.hours) == 30
    short = status.shortened()
    assert (len(short.history.hours), short.history.looks) == (OVERVIEW_HOURS, ())
    assert (short.readings.lake.columns, short.readings.lake.queries) == ((), {})
    assert TableStatus.of("NEW", Readings(NOON), Targets()).history == History()
    kept = json.loads(json.dumps(asdict(status)))
    assert TableStatus.from_dict(kept) == status
    for name in ("source", "month"):
        del kept["readings"][name]
    for name in ("columns", "held", "held_values", "live"):
        del kept["readings"]["lake"][name]
    del kept["history"]
    assert TableStatus.from_dict(kept).state == status.state, "an earlier release's status keeps what it knows"


def test_a_column_knows_since_when_it_is_there_and_what_it_was() -> None:
    schema = TableSchema(
        ItemKey(KeyAttribute("id", "S")), (Column("id", "id", TEXT), Column("userid_6c", "userId", MIXED))
    )
    first = see_columns(schema, (), 1, first=True)
    assert [(c.name, c.attribute, c.since) for c in first] == [("id", "id", None), ("userid_6c", "userId", None)]
    known = (replace(first[0], type="bigint"), first[1])
    later = see_columns(replace(schema, columns=(*schema.columns, Column("x", "x", TEXT))), known, 2, first=False)
    assert later[0] == SeenColumn("id", "id", "string", None, "bigint", 2)
    assert later[2] == SeenColumn("x", "x", "string", 2)
    assert see_columns(schema, later, 3, first=False)[0] == later[0]


def test_what_waits_in_other_is_listed_by_its_number_of_values() -> None:
    schema = TableSchema(ItemKey(KeyAttribute("id", "S")), (Column("id", "id", TEXT),))
    misfits = {"id": {"type": "x", "count": 2}, "y" * 1000: {"type": "x", "count": 9}}
    most, least = see_held(schema, misfits)
    assert (least, most.values, most.type) == (Held("id", 2, "string"), 9, "")
    assert len(most.attribute) < 200
