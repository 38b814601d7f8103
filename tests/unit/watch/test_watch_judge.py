"""What readings mean: which state, why, and what to do; and what must not raise an alarm."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynalake.errors import AlarmError, SettingsError
from dynalake.watch.judge import ALARMS, STATES, Targets, duration, is_quiet, judge, losing_until, unlanded_since, worst
from dynalake.watch.readings import Capture, Comparison, Day, Doubt, Lake, Landing, Misfit, Readings
from dynalake.watch.status import TableStatus, check_alarms

MINUTE, HOUR = 60_000, 3_600_000
AT = 1_700_000_000_000
TARGETS = Targets()
WELL = Readings(
    at=AT,
    hand_off=AT - 240 * HOUR,
    capture=Capture("uuid", "Enabled", "OK", AT - 240 * HOUR, invoked=10, iterator_age_seconds=2),
    landing=Landing(60, 0, "key", AT - MINUTE, AT - 2 * MINUTE, 60),
    lake=Lake("20231110", "run", True, (), None, (Day("20231110", 5, 100, 1),)),
    put_aside={"mapping": 0, "forwarder": 0, "delivery": 0, "compact": 0},
)


DENIED = "PROBLEM: The role may not read the stream: kms:Decrypt"


def changed(**parts: dict[str, Any]) -> Readings:
    """The readings of a table that is well, but for these."""
    return replace(WELL, **{name: replace(getattr(WELL, name), **values) for name, values in parts.items()})


def test_a_table_that_is_well_has_no_finding() -> None:
    assert judge(WELL, TARGETS) == ()
    assert worst(()) == "ok"
    assert not is_quiet(WELL, TARGETS)


@pytest.mark.parametrize(
    ("parts", "state", "says"),
    [
        ({"landing": {"firehose_age_seconds": 901}}, "late", "Firehose is 15 min old"),
        ({"landing": {"unlanded_since": AT - HOUR}}, "late", "nothing landed since"),
        ({"capture": {"state": "Disabled", "changed_at": AT - HOUR}}, "stopped", "since 2023-11-14 21:13:20 UTC"),
        ({"capture": {"state": "gone", "changed_at": None}}, "stopped", "gone"),
        ({"capture": {"state": "Disabled", "changed_at": AT - 13 * HOUR}}, "expiring", "is lost in 11 h"),
        ({"capture": {"state": "Disabled", "changed_at": AT - 24 * HOUR}}, "lost", "are gone from the stream"),
        ({"capture": {"stream": "off"}}, "lost", "stream is off"),
        ({"capture": {"stream": "another"}}, "lost", "turned off and on"),
        ({"capture": {"stream": "gone"}}, "stopped", "no such DynamoDB table"),
        ({"capture": {"last_result": DENIED, "unread_since": AT - 10 * MINUTE}}, "stopped", "kms:Decrypt"),
        ({"capture": {"last_result": DENIED, "unread_since": AT - 13 * HOUR}}, "expiring", "is lost in 11 h"),
        ({"capture": {"last_result": DENIED, "unread_since": AT}}, "attention", "kms:Decrypt"),
        ({"capture": {"last_result": "PROBLEM: Function call failed"}}, "attention", "Function call failed"),
        ({"capture": {"throttles": 4}}, "attention", "held back 4 times"),
        ({"landing": {"throttled": 5}}, "attention", "held 5 records back"),
        ({"lake": {"snapshot": None}}, "attention", "no snapshot"),
        ({"lake": {"misfits": (Misfit("n", "20231114", "bigint", "double"),)}}, "attention", "n needs double"),
        ({"lake": {"waiting": ("20231111",), "waiting_since": AT - 30 * HOUR}}, "attention", "dt=20231111"),
        ({"comparison": {"compared": 9, "differing": (Doubt('["a"]', "x", AT, AT),)}}, "differs", '["a"]'),
    ],
)  # fmt: skip
def test_each_reading_gives_its_state(parts: dict[str, Any], state: str, says: str) -> None:
    findings = judge(changed(**parts), TARGETS)
    assert [finding.state for finding in findings] == [state]
    assert says in findings[0].message
    assert findings[0].action, "every finding says what to do"


@pytest.mark.parametrize("stage", ["mapping", "forwarder", "delivery", "compact"])
def test_what_was_put_aside_asks_for_attention(stage: str) -> None:
    assert [f.state for f in judge(replace(WELL, put_aside={stage: 1}), TARGETS)] == ["attention"]
    (finding,) = judge(replace(WELL, put_aside={stage: 1000}), TARGETS)
    assert finding.message.endswith(": 1,000 or more")


def test_changes_that_are_lost_stay_lost() -> None:
    (finding,) = judge(replace(changed(capture={"dropped": 3}), lost_at=AT - HOUR), TARGETS)
    assert finding.state == "lost"
    assert "until 2023-11-14 21:13:20 UTC did not get into the lake; 3 of the last 24 hours" in finding.message
    (finding,) = judge(replace(WELL, lost_at=AT - 100 * HOUR), TARGETS)
    assert "could be put nowhere" not in finding.message


def test_until_when_changes_are_lost() -> None:
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


def test_a_quiet_table_is_no_late_table() -> None:
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
    assert [finding.state for finding in late] == ["late"]
    assert judge(changed(capture=slow), TARGETS) == (), "its own changes are new"
    assert judge(changed(capture={**slow, "invoked": 0}, landing=old), TARGETS) == (), "it has no changes"
    expiring = judge(changed(capture={"iterator_age_seconds": 13 * 3600.0}, landing=old), TARGETS)
    assert [finding.state for finding in expiring] == ["expiring"]


def test_a_day_waits_for_its_compaction_until_it_is_too_long() -> None:
    lake = {"waiting": ("20231113",), "waiting_since": AT - 25 * HOUR}
    assert judge(changed(lake=lake), TARGETS) == ()
    assert judge(changed(lake=lake), Targets(waiting_hours=24))


def test_nothing_differs_while_the_table_is_late() -> None:
    parts = {"comparison": {"compared": 1, "differing": (Doubt("a", "x", AT, AT),)}}
    findings = judge(changed(**parts, landing={"firehose_age_seconds": 2000}), TARGETS)
    assert [finding.state for finding in findings] == ["late"]


def test_a_table_without_hand_off_is_new() -> None:
    assert [finding.state for finding in judge(Readings(AT), TARGETS)] == ["new"]


def test_the_worst_finding_comes_first_and_gives_the_state() -> None:
    readings = replace(changed(capture={"throttles": 1}, landing={"firehose_age_seconds": 2000}), lost_at=AT)
    findings = judge(readings, TARGETS)
    assert [finding.state for finding in findings] == ["lost", "late", "attention"]
    assert worst(findings) == "lost"


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
    landing=st.builds(
        Landing, st.none() | _amounts, _amounts, st.text(max_size=9), _moments, _moments, st.none() | _amounts, _moments
    ),
    differing=st.lists(st.builds(Doubt, st.text(max_size=9), st.just("x"), st.just(AT), st.just(AT)), max_size=2),
)
def test_whatever_is_read_can_be_judged_kept_and_told(
    capture: Capture, landing: Landing, differing: list[Doubt]
) -> None:
    readings = replace(WELL, capture=capture, landing=landing, comparison=Comparison(AT, 2, 0, (), tuple(differing)))
    status = TableStatus.of("T", readings, TARGETS)
    assert status.state in STATES
    assert next(iter(status.lines())) == f"T is {status.state}"
    assert TableStatus.from_dict(json.loads(json.dumps(asdict(status)))) == status
    if capture.state != "Enabled":
        assert status.state in ALARMS


def test_an_alarm_names_every_table_and_what_to_do_once() -> None:
    stopped = changed(capture={"state": "Disabled", "changed_at": AT - HOUR})
    statuses = [TableStatus.of(name, stopped, TARGETS) for name in ("A", "B")]
    with pytest.raises(AlarmError) as caught:
        check_alarms([*statuses, TableStatus.of("C", WELL, TARGETS)])
    assert caught.value.received.startswith("A is stopped: ")
    assert "; B is stopped: " in caught.value.received
    assert caught.value.action.count("update-event-source-mapping") == 1
    check_alarms([TableStatus.of("C", WELL, TARGETS)])


def test_a_status_says_nothing_any_more_after_a_while() -> None:
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
