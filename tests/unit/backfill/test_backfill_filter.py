from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from operator import itemgetter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynalake.backfill.plan.filter import Outcome, UpdatedBefore, microseconds, of_datetime, parse_cutoff, to_iso
from dynalake.errors import RecordError, SettingsError
from tests.support.values.items import VALUES

SECOND = 1716600000
CUTOFF = SECOND * 10**6
ISO = "2024-05-25T01:20:00"


def decide(value: Any, cutoff: int = CUTOFF, **options: Any) -> Outcome:
    return UpdatedBefore("updatedAt", cutoff, **options).decide({"updatedAt": value})


@pytest.mark.parametrize("kind", ["N", "S"])
@pytest.mark.parametrize(
    ("before", "at"),
    [
        (f"{SECOND - 1}", f"{SECOND}"),
        (f"{SECOND - 1}999", f"{SECOND}000"),
        (f"{SECOND - 1}999999", f"{SECOND}000000"),
        (f"{SECOND - 1}.9999999999999999999999999999", f"{SECOND}.0"),
        (f"{SECOND - 1}999.999999999999999999999999", f"{SECOND}000.000000000000000000000001"),
        ("1.716599999E9", "1.7166E+9"),
        ("-1", "1716600001"),
        ("0", "99999999999"),
    ],
)
def test_an_epoch_value_is_kept_strictly_before_the_cutoff(kind: str, before: str, at: str) -> None:
    assert decide({kind: before}) is Outcome.KEPT
    assert decide({kind: at}) is Outcome.FILTERED


@pytest.mark.parametrize(
    ("before", "at"),
    [
        ("2024-05-25T01:19:59Z", "2024-05-25T01:20:00Z"),
        ("2024-05-25T01:19:59", "2024-05-25T01:20:00"),
        ("2024-05-25T01:19:59.999999999Z", "2024-05-25T01:20:00.000000000Z"),
        ("2024-05-25 01:19:59,999", "2024-05-25 01:20:00,000"),
        ("2024-05-25T03:19:59+02:00", "2024-05-25T03:20:00+0200"),
        ("2024-05-24T19:49:59-05:30", "2024-05-24T19:50:00-05:30"),
        ("20240525T011959Z", "20240525T012000Z"),
        ("2024-05-25t01:19:59z", "2024-05-25t01:20:00z"),
        ("2024-05-25 01:19:59 +00:00", "2024-05-25 01:20 Z"),
        ("2024-05-25", "2024-05-26"),
        ("20240525", "20240526"),
        ("2024-W21-6", "2024-W21-7"),
        (" 2024-05-25T01:19:59Z ", " 2024-05-25T01:20:00Z\n"),
    ],
)
def test_iso_text_is_kept_strictly_before_the_cutoff(before: str, at: str) -> None:
    assert decide({"S": before}) is Outcome.KEPT
    assert decide({"S": at}) is Outcome.FILTERED


def test_seconds_against_a_cutoff_with_milliseconds() -> None:
    assert decide({"N": f"{SECOND}"}, CUTOFF + 1000) is Outcome.KEPT
    assert decide({"N": f"{SECOND}001"}, CUTOFF + 1000) is Outcome.FILTERED
    assert decide({"N": f"{SECOND}.0009999999"}, CUTOFF + 1000) is Outcome.KEPT


@pytest.mark.parametrize(
    "value",
    [
        {"S": "yesterday"},
        {"S": ""},
        {"S": "20240525012000"},
        {"N": "20240525012000"},
        {"S": "20240525012000123"},
        {"N": "20240525012000123"},
        {"S": "20241345"},
        {"S": "2024-13-45T00:00:00Z"},
        {"S": "NaN"},
        {"S": "1_716_600_000"},
        {"S": "٢٠٢٤-٠٥-٢٥"},
        {"N": "100000000000000000"},
        {"N": "1E+20"},
        {"BOOL": True},
        {"M": {}},
        {"B": b"1716600000"},
    ],
)
def test_a_value_that_is_not_a_time_is_handled_as_the_run_says(value: dict[str, Any]) -> None:
    item = {"updatedAt": value, "receiptId": {"S": "r-1"}, "line": {"N": "7"}}
    with pytest.raises(RecordError, match=r"receiptId='r-1', line='7'") as caught:
        UpdatedBefore("updatedAt", CUTOFF, invalid="fail").decide(item, ("receiptId", "line"))
    assert "'updatedAt'" in str(caught.value)
    assert caught.value.ids["key"] == "receiptId='r-1', line='7'"
    assert UpdatedBefore("updatedAt", CUTOFF).decide(item) is Outcome.KEPT_INVALID
    assert UpdatedBefore("updatedAt", CUTOFF, invalid="drop").decide(item) is Outcome.FILTERED_INVALID


def test_missing_and_null_are_kept_or_dropped_as_the_run_says() -> None:
    for item in ({}, {"updatedAt": {"NULL": True}}):
        assert UpdatedBefore("updatedAt", CUTOFF).decide(item) is Outcome.KEPT_WITHOUT
        assert UpdatedBefore("updatedAt", CUTOFF, "drop").decide(item) is Outcome.FILTERED_WITHOUT


def test_nested_paths() -> None:
    update = UpdatedBefore("a.b.c", CUTOFF)
    late, early = {"N": str(SECOND)}, {"N": "1"}
    assert update.decide({"a": {"M": {"b": {"M": {"c": late}}}}}) is Outcome.FILTERED
    assert update.decide({"a": {"M": {"b": {"M": {"c": early}}}}}) is Outcome.KEPT
    assert update.decide({"a.b.c": late, "a": {"M": {}}}) is Outcome.FILTERED
    withouts: tuple[dict[str, Any], ...] = (
        {},
        {"a": early},
        {"a": {"M": {}}},
        {"a": {"M": {"b": early}}},
        {"a": {"L": [early]}},
    )
    for without in withouts:
        assert update.decide(without) is Outcome.KEPT_WITHOUT


def test_a_path_indexes_lists_as_dynamodb_does() -> None:
    update = UpdatedBefore("audit.changes[1].at", CUTOFF)
    late, early = {"M": {"at": {"N": str(SECOND)}}}, {"M": {"at": {"N": "1"}}}
    for entries, outcome in (
        ([early, late], Outcome.FILTERED),
        ([late, early], Outcome.KEPT),
        ([late], Outcome.KEPT_WITHOUT),
    ):
        assert update.decide({"audit": {"M": {"changes": {"L": entries}}}}) is outcome
    assert update.decide({"audit": {"M": {"changes": {"M": {"1": late}}}}}) is Outcome.KEPT_WITHOUT
    for name in ("times[0]", "a..b", ".a", "a.", "[0]", "a[x]"):
        assert UpdatedBefore(name, CUTOFF).decide({name: {"N": str(SECOND)}}) is Outcome.FILTERED
    assert UpdatedBefore("times[0]", CUTOFF).decide({"times": {"L": [{"N": str(SECOND)}]}}) is Outcome.FILTERED


MICROSECONDS = st.integers(200_000_000_000_000, 7_000_000_000_000_000)


@st.composite
def written(draw: st.DrawFn) -> tuple[int, dict[str, Any]]:
    """Draw a moment as an item may have it and its microseconds, cut to the second if that is its unit."""
    exact = draw(MICROSECONDS)
    unit = draw(st.sampled_from([1, 1000, 10**6]))
    exact -= exact % unit
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=exact)
    zone = timezone(timedelta(minutes=draw(st.integers(-840, 840))))
    number = Decimal(exact) / draw(st.sampled_from([1, 1000, 10**6]))
    value = draw(
        st.sampled_from(
            [
                {"N": format(number, "f")},
                {"N": format(number.normalize(), "E")},
                {"S": format(number, "f")},
                {"S": moment.astimezone(zone).isoformat()},
                {"S": moment.replace(tzinfo=None).isoformat(sep=" ")},
                {"S": moment.isoformat().replace("+00:00", "Z")},
            ]
        )
    )
    return exact, value


@given(written(), MICROSECONDS | st.just(None), st.sampled_from(["updatedAt", "meta.at", "meta.log[0].at", "a.b"]))
def test_an_item_is_kept_exactly_if_its_moment_is_before_the_cutoff(
    pair: tuple[int, dict[str, Any]], cutoff: int | None, path: str
) -> None:
    exact, value = pair
    items: dict[str, dict[str, Any]] = {
        "updatedAt": {"updatedAt": value},
        "meta.at": {"meta": {"M": {"at": value}}},
        "meta.log[0].at": {"meta": {"M": {"log": {"L": [{"M": {"at": value}}]}}}},
        "a.b": {"a.b": value, "a": {"M": {"b": {"N": "0"}}}},
    }
    update = UpdatedBefore(path, exact if cutoff is None else cutoff)
    expected = Outcome.KEPT if exact < update.cutoff else Outcome.FILTERED
    assert update.decide(items[path]) is expected
    assert UpdatedBefore(path, exact + 1).decide(items[path]) is Outcome.KEPT
    for missing, without in (("keep", Outcome.KEPT_WITHOUT), ("drop", Outcome.FILTERED_WITHOUT)):
        assert UpdatedBefore(path, exact, missing).decide({"id": value}) is without  # type: ignore[arg-type]


# Near-times, and the ends of the calendar, where arithmetic with dates overflows.
NEARLY = (
    st.from_regex(r"[-+0-9TZWz:., eE]{0,40}", fullmatch=True)
    | st.from_regex(
        r"(0000|0001|1970|9999|10000)-(00|01|12|13)-(00|01|31)[T ](00|23|24):00:0[0-9](\+|-)(23|24):59", fullmatch=True
    )
    | st.from_regex(r"[+-]?[0-9]{0,50}[.]?[0-9]{0,50}([eE][+-]?[0-9]{1,5})?", fullmatch=True)
)


@given(st.text(max_size=40) | NEARLY, st.booleans())
def test_any_text_is_a_time_or_an_error_with_the_key(text: str, number: bool) -> None:
    item = {"updatedAt": {"N" if number else "S": text}, "id": {"S": "i-1"}}
    update = UpdatedBefore("updatedAt", CUTOFF, invalid="fail")
    if microseconds(text, number=number) is None:
        with pytest.raises(RecordError) as caught:
            update.decide(item, ("id",))
        assert caught.value.ids["key"] == "id='i-1'"
    else:
        assert update.decide(item, ("id",)) in (Outcome.KEPT, Outcome.FILTERED)


@given(
    VALUES.map(itemgetter(0))
    | st.builds(lambda text: {"S": text}, NEARLY)
    | st.builds(lambda text: {"N": text}, NEARLY),
    st.sampled_from(["updatedAt", "updatedAt.at", "updatedAt[0]", "updatedAt.a[3].b"]),
    st.sampled_from(["keep", "drop", "fail"]),
    st.sampled_from([None, CUTOFF]),
)
def test_the_filter_decides_on_any_item(value: dict[str, Any], path: str, invalid: Any, read_at: int | None) -> None:
    """It never raises, except for the error that a run requests."""
    known = None if read_at is None else lambda: CUTOFF
    update = UpdatedBefore(path, CUTOFF, "keep", invalid, known)
    try:
        assert isinstance(update.decide({"id": {"S": "1"}, "updatedAt": value}, ("id",)), Outcome)
    except RecordError:
        assert invalid == "fail"


@given(st.integers(200_000_000_000_000, 7_000_000_000_000_000), st.integers(-720, 720))
def test_every_notation_of_a_moment_means_the_same(exact: int, offset: int) -> None:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=exact)
    assert of_datetime(moment) == exact
    local = moment.astimezone(timezone(timedelta(minutes=offset)))
    for text in (
        moment.isoformat(),
        moment.replace(tzinfo=None).isoformat(),
        local.isoformat(),
        to_iso(exact),
        f"{exact}",
    ):
        assert microseconds(text) == exact
    assert microseconds(str(Decimal(exact) / 10**6), number=True) == exact
    assert microseconds(str(Decimal(exact) / 1000), number=True) == exact
    assert parse_cutoff(to_iso(exact)) == exact


def test_a_cutoff_is_read_like_a_value() -> None:
    assert parse_cutoff("2024-05-25T01:20:00Z") == parse_cutoff("1716600000") == parse_cutoff("1716600000000") == CUTOFF
    assert parse_cutoff("1716600000.0000001") == CUTOFF + 1
    for wrong in ("soon", "1E99", "100000000000000000"):
        with pytest.raises(SettingsError, match="updated_before"):
            parse_cutoff(wrong)
