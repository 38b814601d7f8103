"""The meaning of readings: the state, why, and what to do; and readings that must not raise an alarm."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynalake.errors import AlarmError, SettingsError
from dynalake.lake.working.findings import Finding
from dynalake.watch.judge import (
    ALARMS,
    STATES,
    Targets,
    duration,
    is_quiet,
    judge,
    losing_until,
    unlanded_since,
    worst,
)
from dynalake.watch.readings import (
    Capture,
    Comparison,
    Day,
    Doubt,
    Held,
    Lake,
    Landing,
    Readings,
    SeenColumn,
    Size,
    Wait,
)
from dynalake.watch.status import TableStatus, check_alarms

MINUTE, HOUR = 60_000, 3_600_000
AT = 1_700_000_000_000
TARGETS = Targets()
WELL = Readings(
    at=AT,
    hand_off=AT - 240 * HOUR,
    capture=Capture("uuid", "Enabled", "OK", AT - 240 * HOUR, invoked=10, iterator_age_seconds=2),
    landing=Landing(60, 0, AT - MINUTE, AT - 2 * MINUTE, 60),
    lake=Lake(changes=Size(5, 100, 1), run=1, snapshot="run", days=(Day("20231110", Size(5, 100, 1)),)),
    rejected={"mapping": 0, "forwarder": 0, "delivery": 0, "convert": 0},
)


DENIED = "PROBLEM: The role may not read the stream: kms:Decrypt"


OPTIMIZER = Finding("foreign-optimizer", "t", "Glue's table optimizer compaction is on for t", "switch it off")
MISSING = Finding("missing-files", "t", "part-0.parquet is not there", "restore it")


def changed(**parts: dict[str, Any]) -> Readings:
    """Return the readings of a healthy table, changed by these."""
    return replace(WELL, **{name: replace(getattr(WELL, name), **values) for name, values in parts.items()})


def test_a_healthy_table_has_no_finding() -> None:
    assert judge(WELL, TARGETS) == ()
    assert worst(()) == "ok"
    assert not is_quiet(WELL, TARGETS)


@pytest.mark.parametrize(
    ("parts", "state", "place", "says"),
    [
        ({"landing": {"firehose_age_seconds": 901}}, "late", "delivery", "Firehose is 15 min old"),
        ({"landing": {"unlanded_since": AT - HOUR}}, "late", "delivery", "nothing has landed since"),
        ({"capture": {"state": "Disabled", "changed_at": AT - HOUR}}, "stopped", "reading", "since 2023-11-14 21:13"),
        ({"capture": {"state": "gone", "changed_at": None}}, "stopped", "reading", "gone"),
        ({"capture": {"state": "Disabled", "changed_at": AT - 13 * HOUR}}, "expiring", "reading", "expire in 11 h"),
        ({"capture": {"state": "Disabled", "changed_at": AT - 24 * HOUR}}, "lost", "reading", "are gone from"),
        ({"capture": {"stream": "off"}}, "lost", "source", "stream is off"),
        ({"capture": {"stream": "another"}}, "lost", "source", "turned off and on"),
        ({"capture": {"stream": "gone"}}, "stopped", "source", "DynamoDB table no longer exists"),
        ({"capture": {"stream": "replaced"}}, "replaced", "source", "deleted and made again"),
        ({"capture": {"stream": "replaced", "state": "gone"}}, "replaced", "source", "deleted and made again"),
        ({"capture": {"last_result": DENIED, "unread_since": AT - 10 * MINUTE}}, "stopped", "reading", "kms:Decrypt"),
        ({"capture": {"last_result": DENIED, "unread_since": AT - 13 * HOUR}}, "expiring", "reading", "expire in 11 h"),
        ({"capture": {"last_result": DENIED, "unread_since": AT}}, "attention", "reading", "kms:Decrypt"),
        ({"capture": {"last_result": "PROBLEM: Function call failed"}}, "attention", "reading", "Function call failed"),
        ({"capture": {"throttles": 4}}, "attention", "reading", "throttled 4 times"),
        ({"landing": {"throttled": 5}}, "attention", "delivery", "throttled 5 records"),
        ({"landing": {"filled": 0.85}}, "attention", "delivery", "used 85% of the capacity"),
        ({"lake": {"snapshot": None}}, "attention", "state", "no snapshot"),
        ({"lake": {"waiting": (Wait("20231111", AT - 30 * HOUR),)}}, "attention", "state", "dt=20231111"),
        ({"lake": {"fold_due_since": AT - 30 * HOUR}}, "attention", "state", "fold has been due for 30 h"),
        ({"lake": {"unconverted": 7, "unconverted_since": AT - 2 * HOUR}}, "late", "raw", "7, the oldest for 2 h"),
        ({"lake": {"fault": "no table t", "repair": "run dynalake_setup"}}, "stopped", "changes", "no table t"),
        ({"lake": {"findings": (OPTIMIZER,)}}, "attention", "changes", "optimizer compaction is on"),
        ({"lake": {"findings": (MISSING,)}}, "lost", "changes", "part-0.parquet is not there"),
        ({"comparison": {"compared": 9, "differing": (Doubt('["a"]', "x", AT, AT),)}}, "differs", "state", '["a"]'),
    ],
)  # fmt: skip
def test_each_reading_gives_its_state(parts: dict[str, Any], state: str, place: str, says: str) -> None:
    verdicts = judge(changed(**parts), TARGETS)
    assert [(verdict.state, verdict.place) for verdict in verdicts] == [(state, place)]
    assert says in verdicts[0].message
    assert verdicts[0].action, "every verdict says what to do"


@pytest.mark.parametrize("stage", ["mapping", "forwarder", "delivery", "convert"])
def test_rejected_changes_need_attention(stage: str) -> None:
    assert [f.state for f in judge(replace(WELL, rejected={stage: 1}), TARGETS)] == ["attention"]
    (verdict,) = judge(replace(WELL, rejected={stage: 1000}), TARGETS)
    assert verdict.message.endswith(": 1,000 or more")


def test_lost_changes_stay_lost() -> None:
    (verdict,) = judge(replace(changed(capture={"dropped": 3}), lost_at=AT - HOUR), TARGETS)
    assert verdict.state == "lost"
    assert "until 2023-11-14 21:13:20 UTC did not reach the lake; 3 of the last 24 hours" in verdict.message
    (verdict,) = judge(replace(WELL, lost_at=AT - 100 * HOUR), TARGETS)
    assert "could not be stored anywhere" not in verdict.message
    (verdict,) = judge(replace(WELL, lost_since=AT - 30 * HOUR, lost_at=AT - HOUR), TARGETS)
    assert "Changes from 2023-11-13 16:13:20 UTC until 2023-11-14 21:13:20 UTC" in verdict.message
    assert "dynalake_backfill with export_type incremental" in verdict.action


def test_the_end_of_lost_changes() -> None:
    dropped = [(AT - 9 * HOUR, 1.0), (AT - 8 * HOUR, 2.0), (AT - 7 * HOUR, 0.0)]
    assert losing_until(WELL, dropped) == AT - 8 * HOUR
    assert losing_until(WELL, []) is None
    stopped = {"state": "Disabled", "changed_at": AT - 24 * HOUR}
    assert losing_until(changed(capture=stopped), dropped) == AT
    assert losing_until(changed(capture={**stopped, "changed_at": AT - 23 * HOUR}), []) is None
    assert losing_until(changed(capture={"iterator_age_seconds": 90_000.0}), []) == AT
    assert losing_until(changed(capture={"iterator_age_seconds": 90_000.0, "invoked": 0}), []) is None
    assert losing_until(changed(capture={"unread_since": AT - 24 * HOUR}), []) == AT
    assert (
        losing_until(changed(capture={"stream": "off"}), [])
        == losing_until(changed(capture={"stream": "another"}), [])
        == AT
    )
    assert losing_until(changed(landing={"firehose_age_seconds": 86_000.0}), []) == AT
    assert losing_until(changed(landing={"firehose_age_seconds": 86_000.0, "kept_hours": 48}), []) is None


def test_a_quiet_table_is_not_late() -> None:
    quiet = changed(
        landing={"newest_change": AT - 50 * HOUR, "newest_landed": AT - 50 * HOUR, "firehose_age_seconds": None},
        capture={"invoked": 0, "iterator_age_seconds": None},
    )
    assert judge(quiet, TARGETS) == ()
    assert is_quiet(quiet, TARGETS)


def test_the_forwarders_age_counts_for_the_table_that_is_late() -> None:
    """All tables share one forwarder, and with it its iterator age."""
    slow = {"iterator_age_seconds": 3600.0}
    old = {"newest_change": AT - 2 * HOUR}
    late = judge(changed(capture=slow, landing=old), TARGETS)
    assert [verdict.state for verdict in late] == ["late"]
    assert judge(changed(capture=slow), TARGETS) == (), "its own changes are new"
    assert judge(changed(capture={**slow, "invoked": 0}, landing=old), TARGETS) == (), "it has no changes"
    expiring = judge(changed(capture={"iterator_age_seconds": 13 * 3600.0}, landing=old), TARGETS)
    assert [verdict.state for verdict in expiring] == ["expiring"]


def test_due_work_is_a_finding_only_after_too_long() -> None:
    lake = {
        "waiting": (Wait("20231113", AT - 25 * HOUR),),
        "fold_due_since": AT - 25 * HOUR,
        "unconverted": 1,
        "unconverted_since": AT - 59 * MINUTE,
    }
    assert judge(changed(lake=lake), TARGETS) == ()
    assert len(judge(changed(lake=lake), Targets(waiting_hours=24, conversion_minutes=58))) == 3


def test_no_difference_is_reported_while_the_table_is_late() -> None:
    parts = {"comparison": {"compared": 1, "differing": (Doubt("a", "x", AT, AT),)}}
    verdicts = judge(changed(**parts, landing={"firehose_age_seconds": 2000}), TARGETS)
    assert [verdict.state for verdict in verdicts] == ["late"]
    behind = {"unconverted": 1, "unconverted_since": AT - 2 * HOUR}
    verdicts = judge(changed(**parts, lake=behind), TARGETS)
    assert [verdict.state for verdict in verdicts] == ["differs", "late"], "it has landed: it can be compared"


def test_a_table_without_hand_off_is_new() -> None:
    assert [verdict.state for verdict in judge(Readings(AT), TARGETS)] == ["new"]


def test_the_worst_finding_comes_first_and_gives_the_state() -> None:
    readings = replace(changed(capture={"throttles": 1}, landing={"firehose_age_seconds": 2000}), lost_at=AT)
    verdicts = judge(readings, TARGETS)
    assert [verdict.state for verdict in verdicts] == ["lost", "late", "attention"]
    assert worst(verdicts) == "lost"


@pytest.mark.parametrize("hours", [0, 24])
def test_an_alarm_for_the_stream_comes_before_it_is_gone(hours: int) -> None:
    with pytest.raises(SettingsError, match="1 to 23"):
        Targets(expiring_hours=hours)


def test_changes_that_were_read_and_did_not_land() -> None:
    polled = [(AT - 60 * MINUTE, 5.0), (AT - 40 * MINUTE, 0.0), (AT - 30 * MINUTE, 1.0), (AT - 5 * MINUTE, 1.0)]
    assert unlanded_since(polled, AT - 45 * MINUTE, AT, 900) == AT - 30 * MINUTE
    assert unlanded_since(polled, AT - 20 * MINUTE, AT, 900) is None, "the last ones have time left"
    assert unlanded_since(polled, None, AT, 900) == AT - 60 * MINUTE
    assert unlanded_since([], None, AT, 900) is None


_states = st.sampled_from(["Enabled", "Disabled", "Disabling", "gone", ""])
_amounts = st.floats(0, 1e6, allow_nan=False)
_moments = st.none() | st.integers(AT - 72 * HOUR, AT)


@given(
    capture=st.builds(
        Capture, st.just("uuid"), _states, st.text(max_size=20), _moments, _amounts, st.none() | _amounts, _amounts
    ),
    landing=st.builds(Landing, st.none() | _amounts, _amounts, _moments, _moments, st.none() | _amounts, _moments),
    lake=st.builds(
        Lake,
        fault=st.text(max_size=5),
        state=st.builds(Size, st.integers(0, 9)),
        newest_change=_moments,
        folded_to=_moments,
        fold_due_since=_moments,
        unconverted=st.integers(0, 9),
        unconverted_since=_moments,
        waiting=st.lists(st.builds(Wait, st.just("20231111"), st.integers(AT - 72 * HOUR, AT)), max_size=2).map(tuple),
        findings=st.sampled_from([(), (OPTIMIZER,)]),
        queries=st.sampled_from([{}, {"spark": "SELECT 1"}]),
    ),
    differing=st.lists(st.builds(Doubt, st.text(max_size=9), st.just("x"), st.just(AT), st.just(AT)), max_size=2),
)
def test_any_readings_can_be_judged_stored_and_reported(
    capture: Capture, landing: Landing, lake: Lake, differing: list[Doubt]
) -> None:
    comparison = Comparison(AT, 2, 0, (), tuple(differing))
    readings = replace(WELL, capture=capture, landing=landing, lake=lake, comparison=comparison)
    status = TableStatus.of("T", readings, TARGETS)
    assert status.state in STATES
    assert next(iter(status.lines())) == f"T is {status.state}"
    assert TableStatus.from_dict(json.loads(json.dumps(asdict(status)))) == status
    if capture.state != "Enabled" or lake.fault:
        assert status.state in ALARMS


def test_a_table_whose_columns_are_closed_says_what_waits() -> None:
    held = tuple(Held(f"a{i}", 2) for i in range(12))
    waiting = {"held": held, "held_attributes": 12, "held_values": 24}
    assert judge(changed(lake=waiting), TARGETS) == ()

    (verdict,) = judge(changed(lake={**waiting, "schema_changes": "refuse"}), TARGETS)

    assert (verdict.state, verdict.finding) == ("attention", "schema-refused")
    assert verdict.message.endswith("24 values of 12 attributes wait in __other: " + ", ".join(
        f"a{i}" for i in range(10)) + " and 2 more")  # fmt: skip
    assert "a0" not in verdict.mail, "names of attributes may be parts of items"
    assert "allow_schema_changes" in verdict.action
    assert judge(changed(lake={"schema_changes": "refuse"}), TARGETS) == ()


def test_changes_of_columns_are_told_for_a_day_where_the_setting_wants_it() -> None:
    columns = (
        SeenColumn("id", "id", "string"),
        SeenColumn("a", "a", "bigint", since=AT - HOUR),
        SeenColumn("b", "b", "double", since=AT - 99 * HOUR, was="bigint", changed=AT - HOUR),
        SeenColumn("c", "c", "string", since=AT - 2 * HOUR),
        SeenColumn("d", "d", "string", since=AT - 24 * HOUR, was="bigint", changed=AT - 24 * HOUR),
    )
    assert judge(changed(lake={"columns": columns}), TARGETS) == ()

    first, second = judge(changed(lake={"columns": columns, "schema_changes": "tell"}), TARGETS)

    assert first.message == "Its columns have changed; new: c (string)"
    assert second.message == "Its columns have changed; new: a (bigint); of another type: b (double, was bigint)"
    assert {first.finding, second.finding} == {"schema-changed"}
    # Each look's changes are a problem of their own, which stays the same while it is one.
    assert first.action != second.action
    later = replace(changed(lake={"columns": columns, "schema_changes": "tell"}), at=AT + HOUR)
    assert {v.action for v in judge(later, TARGETS) if v.finding} == {first.action, second.action}
    assert not [v for v in judge(replace(later, at=AT + 23 * HOUR), TARGETS) if v.finding]


def test_an_alarm_names_every_table_and_what_to_do_once() -> None:
    stopped = changed(capture={"state": "Disabled", "changed_at": AT - HOUR})
    statuses = [TableStatus.of(name, stopped, TARGETS) for name in ("A", "B")]
    with pytest.raises(AlarmError) as caught:
        check_alarms([*statuses, TableStatus.of("C", WELL, TARGETS)])
    assert caught.value.received.startswith("A is stopped: ")
    assert "; B is stopped: " in caught.value.received
    assert caught.value.action.count("update-event-source-mapping") == 1
    check_alarms([TableStatus.of("C", WELL, TARGETS)])


def test_a_status_expires_after_a_while() -> None:
    status = TableStatus.of("A", WELL, TARGETS)
    assert not status.is_stale(datetime.fromtimestamp((AT + 29 * MINUTE) / 1000, UTC))
    assert status.is_stale(datetime.fromtimestamp((AT + 31 * MINUTE) / 1000, UTC))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (-5, "0 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7200, "2 h"),
        (12_000, "3 h 20 min"),
        (187_200, "2 d 4 h"),
        (172_800, "2 d"),
    ],
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert duration(seconds) == text
