"""Names: valid for every AWS limit, different for different tables, the same every time."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynalake.days import check_day, check_known, day_of, end_of_day, find_zone, parse_day, shift_day
from dynalake.errors import SettingsError
from dynalake.names import Lake, shorten

LAKE = Lake("dev", "123456789012", "eu-west-1")
table_names = st.from_regex(r"[a-zA-Z0-9_.-]{3,255}", fullmatch=True)
environments = st.from_regex(r"[a-z][a-z0-9-]{0,15}", fullmatch=True)


@given(table_names, environments)
def test_every_table_name_gives_names_that_aws_accepts(table: str, environment: str) -> None:
    names = Lake(environment, "123456789012", "ap-southeast-2").table(table)
    assert re.fullmatch(r"[a-zA-Z][a-zA-Z0-9-]{0,127}", names.stack)
    assert re.fullmatch(r"[a-zA-Z0-9_.-]{1,128}", names.stream)
    assert re.fullmatch(r"[a-zA-Z0-9_.-]{1,64}", names.delivery_stream)
    assert re.fullmatch(r"[a-zA-Z0-9_./-]{1,1011}", names.settings_parameter)
    for glue in names.glue_names:
        assert re.fullmatch(r"[a-z0-9_]{1,255}", glue)
    assert len(names.raw_day("20190525").encode()) < 1024 - 400, "Firehose prefixes and object names must fit a key"


@given(table_names, table_names)
def test_two_tables_never_share_a_resource(one: str, other: str) -> None:
    if one == other:
        return
    a, b = LAKE.table(one), LAKE.table(other)
    assert a.stack != b.stack
    assert a.stream != b.stream
    assert a.delivery_stream != b.delivery_stream
    assert a.settings_parameter != b.settings_parameter
    assert a.raw_prefix != b.raw_prefix


@pytest.mark.parametrize(("one", "other"), [("a.b", "a-b"), ("x" * 100, "x" * 101), ("a_b", "a.b")])
def test_replaced_and_cut_characters_still_make_a_difference(one: str, other: str) -> None:
    assert LAKE.table(one).stack != LAKE.table(other).stack
    assert LAKE.table(one).delivery_stream != LAKE.table(other).delivery_stream


def test_a_name_that_fits_is_left_unchanged() -> None:
    names = LAKE.table("RECEIPTS")
    assert names.stack == "dynalake-dev-table-RECEIPTS"
    assert names.stream == names.delivery_stream == "dynalake-dev-RECEIPTS"
    assert LAKE.bucket == "dynalake-dev-123456789012-eu-west-1"
    assert Lake("dev", "123456789012", "eu-west-1", bucket="mine").bucket == "mine"
    assert shorten("abc", 3) == "abc"


@pytest.mark.parametrize("environment", ["", "Dev", "1dev", "dev_1", "d" * 17, "dev/x"])
def test_a_bad_environment_says_what_is_allowed(environment: str) -> None:
    with pytest.raises(SettingsError, match=r"environment is .*lower-case") as caught:
        Lake(environment, "123456789012", "eu-west-1")
    assert caught.value.ids == {"environment": environment}


def test_the_prefix_is_the_root_of_everything_that_belongs_to_tables() -> None:
    names = Lake("dev", "123456789012", "eu-west-1", prefix="lake/raw").table("RECEIPTS")
    assert names.raw_day("20190525") == "lake/raw/json/RECEIPTS/dt=20190525/"
    assert names.rejected("delivery") == "lake/raw-errors/delivery/RECEIPTS/"
    assert names.lake.errors_prefix == "lake/raw-errors/"
    assert names.hand_off == "lake/raw-state/RECEIPTS/hand-off.json"
    assert names.export_prefix("run") == "lake/raw-state/_/RECEIPTS/export/run/"
    assert LAKE.table("RECEIPTS").raw_prefix == "dynamodb/json/RECEIPTS/"


@pytest.mark.parametrize("prefix", ["a", "lake/raw", "Lake_1/x.y-z/0", "x" * 100])
def test_prefixes(prefix: str) -> None:
    assert Lake("dev", "123456789012", "eu-west-1", prefix=prefix).table("abc").raw_prefix == f"{prefix}/json/abc/"


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "/",
        "/a",
        "a/",
        "a//b",
        "..",
        "a/../b",
        ".a",
        "_a",
        "a b",
        "a=b",
        "!{x}",
        "ä",
        "a\n",
        "x" * 101,
        "aws/x",
        "aws",
    ],
)
def test_a_bad_prefix_says_what_is_allowed(prefix: str) -> None:
    with pytest.raises(SettingsError, match=r"prefix is .*letters, digits.*athena-results/"):
        Lake("dev", "123456789012", "eu-west-1", prefix=prefix)


@pytest.mark.parametrize("table", ["", "ab", "x" * 256, "a b c", "täble", "arn:aws:dynamodb:x:y:table/T"])
def test_a_bad_table_name_says_what_is_allowed(table: str) -> None:
    with pytest.raises(SettingsError, match="3 to 255"):
        LAKE.table(table)


@pytest.mark.parametrize("day", ["00000000", "20190525", "20240229"])
def test_days(day: str) -> None:
    assert check_day(day) == day
    assert parse_day(LAKE.table("RECEIPTS").raw_day(day) + "x.gz") == day
    assert parse_day(f"dt={day}/x") == day


@pytest.mark.parametrize(
    ("days", "known", "says"),
    [
        (["20190525"], {"20190525"}, ""),
        ([], set(), ""),
        (
            ["20190526", "20190525"],
            {"20190520", "20190525", "20190530"},
            "20190526.*nearest are 20190520|20190525, 2019",
        ),
        (
            ["20190501"],
            {"20190520", "20190525"},
            "20190501, for which .* rows.*the nearest are 20190520. What",
        ),
        (["20190501"], set(), "days that have rows; none has"),
    ],
)
def test_a_named_day_must_be_there(days: list[str], known: set[str], says: str) -> None:
    if not says:
        check_known(days, known, "rows")
        return
    with pytest.raises(SettingsError, match=says):
        check_known(days, known, "rows")


@pytest.mark.parametrize("day", ["", "2019-05-25", "20190532", "20230229", "today", "20190525x"])
def test_a_bad_day_says_how_to_write_it(day: str) -> None:
    with pytest.raises(SettingsError, match="YYYYMMDD"):
        check_day(day)


ZONES = ["UTC", "Pacific/Auckland", "Pacific/Pago_Pago", "Europe/Berlin", "America/Havana", "America/St_Johns"]


@given(st.sampled_from(ZONES), st.dates(date(1990, 1, 1), date(2030, 1, 1)))
def test_a_day_is_over_once_the_next_one_has_begun_for_good(zone: str, when: date) -> None:
    day, where = when.strftime("%Y%m%d"), find_zone(zone)
    end = end_of_day(day, where)
    after = [end + timedelta(minutes=minutes) for minutes in range(0, 180, 7)]
    assert {day_of(moment, where) for moment in after} == {shift_day(day, 1)}
    hours = (end - end_of_day(shift_day(day, -1), where)) / timedelta(hours=1)
    assert 22 <= hours <= 26


def test_a_day_is_in_the_time_zone_of_the_lake() -> None:
    moment = datetime(2019, 5, 25, 11, 30, tzinfo=UTC)
    days = {zone: Lake("dev", "1", "eu-west-1", time_zone=zone).day_of(moment) for zone in ZONES[:3]}
    assert days == {"UTC": "20190525", "Pacific/Auckland": "20190525", "Pacific/Pago_Pago": "20190525"}
    assert day_of(moment + timedelta(hours=1), ZoneInfo("Pacific/Auckland")) == "20190526"
    assert day_of(moment - timedelta(hours=1), ZoneInfo("Pacific/Pago_Pago")) == "20190524"
    assert (shift_day("20240228", 2), shift_day("20240101", -1)) == ("20240301", "20231231")


@pytest.mark.parametrize("zone", ["", "Mars", "../etc/passwd", "/etc/localtime", "Europe", "utc ", "Ü"])
def test_a_bad_time_zone_says_what_is_allowed(zone: str) -> None:
    with pytest.raises(SettingsError, match=r"time_zone is .*Europe/Berlin"):
        find_zone(zone)
