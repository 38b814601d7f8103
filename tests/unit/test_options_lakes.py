"""The lakes of an Airflow: what DYNALAKE_LAKES may say, and how their DAGs are named."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dynalake.errors import SettingsError
from dynalake.options.lakes import (
    LAKES,
    SCHEDULED,
    LakeEntry,
    check_entries,
    correct_entries,
    dag_of,
    default_environment,
    environment_of,
    environments,
    find_entry,
    name_dags,
)
from tests.support.machine import REPOSITORY

PROD = (
    '{"connection": "aws_prod", "region": "eu-central-1", "convert_every_minutes": 5, "compact_schedule": "30 1 * * *",'
    ' "certify_schedule": "0 6 1 * *", "tag": "lake=prod"}'
)


def test_each_lake_has_its_settings_and_the_first_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LAKES, f'{{"prod": {PROD}, "staging": {{}}}}')
    assert environments() == ("prod", "staging")
    assert default_environment() == "prod"
    assert find_entry("prod") == LakeEntry(
        "prod", "aws_prod", "eu-central-1", 5, "30 1 * * *", "0 6 1 * *", tag="lake=prod"
    )
    staging = LakeEntry("staging", "aws_default", "", 10, "0 2 * * *", "0 6 * * 0", tag="datalake=yes")
    assert find_entry("staging") == staging
    assert correct_entries() == [find_entry("prod"), staging]
    check_entries()


@pytest.mark.parametrize("text", [None, ""])
def test_without_the_variable_there_is_one_lake(text: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """docker-compose may pass on an unset variable as empty."""
    monkeypatch.delenv(LAKES, raising=False)
    if text is not None:
        monkeypatch.setenv(LAKES, text)
    assert correct_entries() == [LakeEntry("dev")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "prod",
            "DYNALAKE_LAKES is not valid JSON .*: 'prod'. Needed: a JSON object .*for all of Airflow's components",
        ),
        ("[]", "DYNALAKE_LAKES is '\\[\\]'. Needed: a JSON object from each lake's environment"),
        ("{}", "DYNALAKE_LAKES is '{}'"),
        ('{"prod": {}, "dev": {}, "prod": {}}', "DYNALAKE_LAKES has 'prod' more than once"),
        ('{"prod": {"tag": "a=b", "tag": "c=d"}}', "DYNALAKE_LAKES has 'tag' more than once"),
    ],
)
def test_a_variable_without_lakes_is_refused(text: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LAKES, text)
    for ask in (environments, default_environment, correct_entries, check_entries):
        with pytest.raises(SettingsError, match=message):
            ask()


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("5", "'bad' of DYNALAKE_LAKES is 5. Needed: a JSON object"),
        ('{"conection": "x"}', "there is no setting 'conection'. Did you mean 'connection'"),
        ('{"connection": ""}', "'connection' is empty"),
        ('{"connection": 5}', "'connection' is 5.*connection is text"),
        ('{"region": "Frankfurt"}', "'region' is 'Frankfurt', not a region such as 'eu-central-1'"),
        ('{"convert_every_minutes": 0}', "'convert_every_minutes' is 0.*a whole number from 1 to 1440"),
        ('{"convert_every_minutes": 1441}', "'convert_every_minutes' is 1441"),
        ('{"convert_every_minutes": "5"}', "'convert_every_minutes' is '5'"),
        ('{"compact_schedule": "61 2 * * *"}', "'compact_schedule' is '61 2 .*not a cron expression such as"),
        ('{"compact_schedule": "0 0 31 2 *"}', "'compact_schedule' is '0 0 31"),
        ('{"certify_schedule": "@weekly"}', "'certify_schedule' is '@weekly'"),
        ('{"tag": "datalake"}', "'tag' is 'datalake', not key=value"),
    ],
)
def test_a_wrong_entry_concerns_its_own_lake_alone(entry: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if it is the default: another lake must not take over its DAGs."""
    monkeypatch.setenv(LAKES, f'{{"bad": {entry}, "good": {{}}}}')
    assert correct_entries() == [LakeEntry("good")]
    assert default_environment() == "bad"
    assert dag_of("convert", "good") == "dynalake_convert_good"
    for ask in (lambda: find_entry("bad"), check_entries):
        with pytest.raises(SettingsError, match=message) as error:
            ask()
        assert error.value.action == "correct DYNALAKE_LAKES for all of Airflow's components"
        assert "'bad'" in str(error.value)


@pytest.mark.parametrize("name", ["Prod", "prod_1", "1", "", "a-name-that-is-too-long"])
def test_a_name_that_is_not_allowed_concerns_its_own_lake_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LAKES, f'{{"good": {{}}, "{name}": {{}}}}')
    assert correct_entries() == [LakeEntry("good")]
    with pytest.raises(SettingsError, match=f"The lake '{name}' of DYNALAKE_LAKES has a name .*a lower-case letter"):
        check_entries()


def test_another_lake_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LAKES, '{"prod": {}, "staging": {}}')
    with pytest.raises(SettingsError) as error:
        find_entry("stagin")
    assert str(error.value) == (
        "'stagin' is not one of this Airflow's lakes. Did you mean 'staging'? Needed: 'prod' or 'staging'. What to do: "
        "choose one of them, or add 'stagin' to DYNALAKE_LAKES for all of Airflow's components."
    )


def test_each_lake_but_the_default_has_its_name_in_the_ids_of_its_dags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LAKES, '{"prod": {}, "eu-west": {}}')
    for name in SCHEDULED:
        assert dag_of(name, "prod") == f"dynalake_{name}"
        assert dag_of(name, "eu-west") == f"dynalake_{name}_eu-west"
        for environment in environments():
            assert environment_of(dag_of(name, environment)) == environment
    assert dag_of("setup", "eu-west") == "dynalake_setup"
    assert environment_of("dynalake_setup") == "prod"


def test_texts_name_the_dags_of_their_lake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LAKES, '{"prod": {}, "watch": {}}')
    text = (
        "Unpause dynalake_convert, run dynalake_watch. Or dynalake_setup; SELECT * FROM dynalake_watch.t, "
        "dynalake_watch_x"
    )
    assert name_dags(text, "prod") == text
    assert name_dags(text, "watch") == (
        "Unpause dynalake_convert_watch, run dynalake_watch_watch. Or dynalake_setup (environment watch); "
        "SELECT * FROM dynalake_watch.t, dynalake_watch_x"
    )


def test_reading_the_lakes_imports_nothing_heavy() -> None:
    heavy = ("airflow", "boto3", "botocore", "pyarrow", "numpy", "pandas")
    code = f"""
import sys
from dynalake.options.lakes import correct_entries
assert correct_entries()
print([name for name in {heavy} if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY / "plugins", capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
