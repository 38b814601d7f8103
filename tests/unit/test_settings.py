"""Settings: one error names everything that is wrong; stored settings come back unchanged."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynalake.errors import SettingsError
from dynalake.options.settings import LEAST_HISTORY_DAYS, TableSettings


def _allowed_values(name: str) -> st.SearchStrategy[object]:
    field = next(f for f in fields(TableSettings) if f.name == name)
    if field.metadata["choices"]:
        return st.sampled_from(field.metadata["choices"])
    if name == "sort_by":
        return st.lists(st.text(min_size=1), unique=True, max_size=3).map(json.dumps)
    if isinstance(field.default, bool):
        return st.booleans()
    if isinstance(field.default, int):
        return st.integers(field.metadata["minimum"], field.metadata["maximum"])
    return st.from_regex(r"[a-zA-Z]{3,20}", fullmatch=True)


def _fit_together(values: dict[str, object]) -> bool:
    """Return whether the fields fit together."""
    age, buffer = values["freshness_alarm_minutes"], values["buffer_seconds"]
    assert isinstance(age, int)
    assert isinstance(buffer, int)
    history = values["history_days"]
    assert isinstance(history, int)
    batch = values["batch_size"]
    assert isinstance(batch, int)
    stream = (values["delivery"] != "direct", values["stream_mode"] == "on_demand", bool(values["shards"]))
    # Without a stream there are neither of the others; one on demand has no shards of its own.
    fits = stream in ((False, False, False), (True, False, False), (True, False, True), (True, True, False))
    together = age * 60 > buffer and (batch <= 10 or values["batch_window_seconds"])
    return fits and bool(together) and not 0 < history < LEAST_HISTORY_DAYS


allowed_settings = st.fixed_dictionaries({f.name: _allowed_values(f.name) for f in fields(TableSettings)}).filter(
    _fit_together
)


@given(allowed_settings)
def test_settings_survive_being_stored(values: dict[str, object]) -> None:
    settings = TableSettings.parse(values)
    assert TableSettings.from_json(settings.to_json()) == settings
    assert len(settings.to_json().encode()) < 4096, "an SSM standard parameter holds 4 KB"
    assert settings.changed_from(settings) == {}


def test_one_error_names_everything_that_is_wrong() -> None:
    with pytest.raises(SettingsError) as caught:
        TableSettings.parse({"delivery": "pigeon", "shards": True, "buffer_mb": 500, "colour": "red"})
    message = str(caught.value)
    for part in ("there is no setting 'colour'", "'delivery' is 'pigeon'", "kinesis, direct", "'shards' is True"):
        assert part in message
    assert "'buffer_mb' is 500" in message
    assert "from 1 to 128" in message
    assert "'table' is missing" in message


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"delivery": "direct", "shards": 2}, "'shards' is set, but delivery 'direct' has no Kinesis stream"),
        ({"delivery": "direct", "stream_mode": "on_demand"}, "'stream_mode' is 'on_demand', but delivery 'direct'"),
        ({"stream_mode": "on_demand", "shards": 2}, "'shards' is set, but with 'stream_mode' 'on_demand'"),
        ({"batch_window_seconds": 0}, "'batch_window_seconds' is 0, but 'batch_size' is more than 10"),
        ({"max_record_kb": 1001}, "max_record_kb is a whole number from 5 to 1000"),
    ],
)
def test_settings_that_aws_would_refuse_are_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        TableSettings.parse({"table": "RECEIPTS", **given})


def test_a_small_batch_allows_no_window() -> None:
    assert TableSettings.parse({"table": "RECEIPTS", "batch_size": 10, "batch_window_seconds": 0})


def test_an_alarm_that_would_never_end_is_refused() -> None:
    with pytest.raises(SettingsError, match="freshness_alarm_minutes is a whole number"):
        TableSettings.parse({"table": "RECEIPTS", "buffer_seconds": 900})
    assert TableSettings.parse({"table": "RECEIPTS", "buffer_seconds": 900, "freshness_alarm_minutes": 16})


def test_stored_settings_of_a_newer_version_are_read_and_given_ones_are_refused() -> None:
    stored = '{"table":"RECEIPTS","buffer_mb":5,"of_a_newer_version":{"x":1}}'
    assert TableSettings.from_json(stored) == TableSettings("RECEIPTS", buffer_mb=5)
    with pytest.raises(SettingsError, match="there is no setting 'of_a_newer_version'"):
        TableSettings.parse({"table": "RECEIPTS", "of_a_newer_version": {"x": 1}})


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"RECEIPTS"'])
def test_stored_settings_that_are_not_an_object_raise_our_own_error(text: str) -> None:
    with pytest.raises(SettingsError, match="The stored settings are"):
        TableSettings.from_json(text)


def test_what_changed() -> None:
    old = TableSettings.parse({"table": "RECEIPTS"})
    new = TableSettings.parse({"table": "RECEIPTS", "buffer_seconds": 300})
    assert new.changed_from(old) == {"buffer_seconds": (60, 300)}


@pytest.mark.parametrize("owner", ["check\nout", "x" * 61])
def test_an_owner_is_one_short_line(owner: str) -> None:
    with pytest.raises(SettingsError, match=r"'owner' is .*not one line of at most 60 characters"):
        TableSettings.parse({"table": "RECEIPTS", "owner": owner})
    assert TableSettings.parse({"table": "RECEIPTS", "owner": "Käse & Co."}).owner == "Käse & Co."


@pytest.mark.parametrize("sort_by", ["updatedAt", '["a", "a"]', '[""]', "[1]", '{"a": 1}'])
def test_an_order_is_a_json_list_of_names(sort_by: str) -> None:
    with pytest.raises(SettingsError, match=r"'sort_by' is .*not a JSON list of names, each of them once"):
        TableSettings.parse({"table": "RECEIPTS", "sort_by": sort_by})
    assert TableSettings.parse({"table": "RECEIPTS", "sort_by": '["b", "a"]'}).sort_order == ("b", "a")


def test_history_of_a_few_days_is_refused() -> None:
    with pytest.raises(SettingsError, match="'history_days' is 30, fewer than 31"):
        TableSettings.parse({"table": "RECEIPTS", "history_days": 30})
    assert TableSettings.parse({"table": "RECEIPTS", "history_days": 31}).history_days == 31
