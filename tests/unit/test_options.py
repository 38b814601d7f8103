"""The options of a run: one error names everything that is wrong."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from dynalake.errors import SettingsError
from dynalake.options.backfill import BackfillOptions
from dynalake.options.option import Options, option
from dynalake.options.runs import RedriveOptions
from dynalake.options.where import OneTable, Where


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"method": "copy"}, "'method' is 'copy'.*method is one of auto, export, scan"),
        ({"missing_updated_at": "?"}, "'missing_updated_at' is"),
        ({"segments": -1}, "'segments' is -1.*from 0 to 256"),
        ({"segments": 1000}, "'segments' is 1000"),
        ({"segments": True}, "'segments' is True"),
        ({"max_read_capacity": -5}, "'max_read_capacity' is -5.*a whole number from 0\\."),
        ({"read_capacity_percent": 101, "dry_run": 1}, "'read_capacity_percent' is 101; 'dry_run' is 1"),
        ({"target_mb": 0}, "'target_mb' is 0"),
        ({"segment": 4}, r"there is no parameter 'segment'. Did you mean 'segments'.*one of method, "),
        ({"export_type": "half"}, "'export_type' is 'half'"),
        ({"export_type": "incremental", "method": "scan", "window_from": "2019-05-20"}, "'method' is 'scan', but"),
        ({"window_from": "2019-05-20"}, "'export_type' is 'full'.*export_type is one of full, incremental"),
    ],
)
def test_options_of_a_backfill_that_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        BackfillOptions.parse(values)


def test_an_empty_field_of_a_form_is_an_empty_text_or_none() -> None:
    options = BackfillOptions.parse({"updated_at_attribute": None, "updated_before": None, "window_to": None})
    assert options == BackfillOptions()
    assert (options.updated_at_attribute, options.updated_before) == (None, "")


def test_a_list_is_of_texts() -> None:
    assert RedriveOptions.parse({"batches": ["a/", "b"]}).batches == ("a/", "b")
    with pytest.raises(SettingsError, match="batches is a list of texts"):
        RedriveOptions.parse({"batches": ["a", 1]})
    with pytest.raises(SettingsError, match="'batches' is 'a'"):
        RedriveOptions.parse({"batches": "a"})


def test_a_table_must_be_named() -> None:
    assert OneTable.parse({"table": "RECEIPTS"}).table == "RECEIPTS"
    for values in ({}, {"table": ""}):
        with pytest.raises(SettingsError, match="'table' is missing"):
            OneTable.parse(values)


def test_defaults_and_choices_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYNALAKE_LAKES", '{"prod": {}, "staging": {}}')
    assert Where.parse({}) == Where("prod")
    with pytest.raises(SettingsError, match="environment is one of prod, staging"):
        Where.parse({"environment": "dev"})


def test_a_choice_has_the_type_of_the_others() -> None:
    @dataclass(frozen=True)
    class Numbers(Options):
        number: int = option(1, "Number", "A number.", choices=(0, 1))

    with pytest.raises(SettingsError, match="'number' is True"):
        Numbers.parse({"number": True})
