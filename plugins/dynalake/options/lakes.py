"""The lakes of this Airflow, by the environment variable DYNALAKE_LAKES, and the ids of their DAGs.

The variable is a JSON object from a lake's environment to its settings, such as `{"prod": {"connection": "aws_prod"},
"staging": {}}`. The first lake is the default. All of Airflow's components need the same value.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, ClassVar

from dynalake.errors import SettingsError, meant
from dynalake.names import ENVIRONMENT_PATTERN
from dynalake.options.option import Options, option

LAKES = "DYNALAKE_LAKES"
DEFAULT = '{"dev": {}}'
SCHEDULED, SHARED = ("convert", "compact", "watch", "certify"), ("setup", "backfill", "redrive", "teardown")
"""DAGs that each lake has for itself, and DAGs for all lakes."""

_EVERYWHERE = f"correct {LAKES} for all of Airflow's components"
_IDS = re.compile(rf"\bdynalake_({'|'.join((*SCHEDULED, *SHARED))})\b(?![.\w-]*\w)")


@dataclass(frozen=True)
class LakeEntry(Options):
    """A lake as this Airflow knows it: how to reach it, and when its DAGs run."""

    word: ClassVar[str] = "setting"

    environment: str = ""
    connection: str = option(
        "aws_default", "AWS connection", "The Airflow connection whose account and role all runs for this lake use."
    )
    region: str = option("", "Region", "The AWS region of the lake. Empty: the region of the connection.")
    convert_every_minutes: int = option(
        10, "Conversion interval (minutes)", "How often `dynalake_convert` runs.", minimum=1, maximum=1440
    )
    compact_schedule: str = option(
        "0 2 * * *", "Compaction schedule", "When `dynalake_compact` runs, as a cron expression of five fields in UTC."
    )
    certify_schedule: str = option(
        "0 6 * * 0", "Certificate schedule", "When `dynalake_certify` runs, as a cron expression of five fields in UTC."
    )
    tag: str = option(
        "datalake=yes",
        "Tag of tables for the lake",
        "`dynalake_watch` names the tables with this tag (`key=value`) that are not set up. If it is empty, or the "
        "role may not read tags, it names none.",
    )

    def conflicts(self) -> Iterator[tuple[str, str]]:
        if not self.connection:
            yield "connection", "'connection' is empty"
        if not re.fullmatch(r"[a-z0-9-]*", self.region):
            yield "region", f"'region' is {self.region!r}, not a region such as 'eu-central-1'"
        for name in ("compact_schedule", "certify_schedule"):
            if not _is_cron(text := getattr(self, name)):
                yield name, f"{name!r} is {text!r}, not a cron expression such as '0 2 * * *'"
        if self.tag and not self.tag.partition("=")[1]:
            yield "tag", f"'tag' is {self.tag!r}, not key=value"


def environments() -> tuple[str, ...]:
    """Return the environments of all lakes, the default first. Raise `SettingsError` if DYNALAKE_LAKES has none."""
    return tuple(_entries())


def default_environment() -> str:
    """Return the lake of a run that names none."""
    return environments()[0]


def find_entry(environment: str) -> LakeEntry:
    """Return a lake's entry. Raise `SettingsError` for a lake that this Airflow does not have, or a wrong entry."""
    entries = _entries()
    entry = entries.get(environment)
    if entry is None:
        raise SettingsError(
            f"{environment!r} is not one of this Airflow's lakes{meant([environment], entries)}",
            allowed=" or ".join(map(repr, entries)),
            action=f"choose one of them, or add {environment!r} to {LAKES} for all of Airflow's components",
            environment=environment,
        )
    if isinstance(entry, SettingsError):
        raise entry.with_traceback(None)  # it is raised many times
    return entry


def correct_entries() -> list[LakeEntry]:
    """Return the lakes whose entries are correct: a wrong one must not stop the others."""
    return [entry for entry in _entries().values() if isinstance(entry, LakeEntry)]


def check_entries() -> None:
    """Raise `SettingsError` for the first wrong entry."""
    for environment in environments():
        find_entry(environment)


def dag_of(name: str, environment: str) -> str:
    """Return the id of a lake's DAG, such as `convert`. The default lake's has no suffix, nor has one for all lakes."""
    plain = name in SHARED or environment == default_environment()
    return f"dynalake_{name}" if plain else f"dynalake_{name}_{environment}"


def environment_of(dag: str) -> str:
    """Return the lake of a DAG's runs that name none. An environment has no `_`, so the id has it unchanged."""
    _, _, environment = dag.removeprefix("dynalake_").partition("_")
    return environment or default_environment()


def name_dags(text: str, environment: str) -> str:
    """Return a text with the ids of the lake's own DAGs, and the lake behind those of a DAG for all lakes.

    The stages do not know how many lakes an Airflow has: their texts name the DAGs as if there were one.
    """

    def name(found: re.Match[str]) -> str:
        shared = found[1] in SHARED and environment != default_environment()
        return f"{found[0]} (environment {environment})" if shared else dag_of(found[1], environment)

    return _IDS.sub(name, text)


def _entries() -> Mapping[str, LakeEntry | SettingsError]:
    return _parse(os.environ.get(LAKES) or DEFAULT)


@cache
def _parse(text: str) -> Mapping[str, LakeEntry | SettingsError]:
    """Return the entries by environment, in their order; for a wrong one its error."""
    try:
        values = json.loads(text, object_pairs_hook=_without_duplicates)
    except ValueError as error:
        raise _wrong(f"{LAKES} is not valid JSON ({error}): {text!r}") from None
    if not isinstance(values, dict) or not values:
        raise _wrong(f"{LAKES} is {text!r}")
    return {environment: _entry(environment, entry) for environment, entry in values.items()}


def _entry(environment: str, values: Any) -> LakeEntry | SettingsError:
    if not re.fullmatch(ENVIRONMENT_PATTERN, environment):
        return SettingsError(
            f"The lake {environment!r} of {LAKES} has a name that is not allowed",
            allowed="1 to 16 characters: a lower-case letter, then lower-case letters, digits and '-'",
            action=_EVERYWHERE,
            environment=environment,
        )
    if not isinstance(values, dict):
        return _wrong(f"The lake {environment!r} of {LAKES} is {values!r}", environment=environment)
    try:
        return replace(LakeEntry.parse(values), environment=environment)
    except SettingsError as error:
        return SettingsError(
            f"The lake {environment!r} of {LAKES}: {error.received}",
            allowed=error.allowed,
            action=_EVERYWHERE,
            environment=environment,
        )


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _wrong(f"{LAKES} has {twice!r} more than once")
    return values


def _wrong(received: str, **ids: str) -> SettingsError:
    return SettingsError(
        received,
        allowed='a JSON object from each lake\'s environment to its settings, such as {"prod": {"connection": '
        '"aws_prod", "region": "eu-central-1"}, "staging": {}}',
        action=_EVERYWHERE,
        **ids,
    )


def _is_cron(text: str) -> bool:
    """Return whether Airflow can run a DAG by this expression: it is valid, and there is a next time."""
    from croniter import croniter

    try:
        croniter(text).get_next()
    except ValueError:
        return False
    return len(text.split()) == 5
