"""What is set up: the lake, its tables and their settings, as SSM holds them."""

from __future__ import annotations

import json
import re
from dataclasses import replace

from dynalake.aws.answers import tolerate
from dynalake.aws.clients import Clients
from dynalake.days import DEFAULT_TIME_ZONE
from dynalake.errors import NameTakenError, SettingsError, cut, meant
from dynalake.lake.catalog.table import Table
from dynalake.names import DEFAULT_PREFIX, TABLE_PATTERN, Lake
from dynalake.options.settings import TableSettings

SHOWN_NAMES = 300
"""Characters of the names of a lake's tables that an error lists."""


def load_lake(clients: Clients, environment: str) -> Lake:
    """Return the lake of an environment in the clients' account and region. Raise `SettingsError` without one."""
    lake = find_lake(clients, environment)
    if lake is None:
        default = _default_lake(clients, environment)
        raise SettingsError(
            f"There is no lake {environment!r} in account {default.account}, region {default.region}",
            allowed="a lake that is set up there",
            action="run dynalake_setup for a table first, or check the lake's connection and region in DYNALAKE_LAKES",
            environment=environment,
        )
    return lake


def find_lake(clients: Clients, environment: str) -> Lake | None:
    """Return the lake of an environment in the clients' account and region; None where it is not set up."""
    lake = _default_lake(clients, environment)
    place = _place(clients, lake)
    return None if place is None else replace(lake, **place)


def plan_lake(clients: Clients, environment: str, bucket: str = "", *, prefix: str = "", time_zone: str = "") -> Lake:
    """Return the lake of an environment, set up or not. `bucket` is one that the user brings; '' requests none.

    Raises `SettingsError` where the lake is set up in another bucket, under another prefix or in another time zone.
    """
    lake = _default_lake(clients, environment)
    parameters = {"bucket": bucket, "prefix": prefix, "time_zone": time_zone}
    requested = {name: value for name, value in parameters.items() if value}
    place = _place(clients, lake)
    if place is None:
        return replace(lake, **requested)
    for name, value in requested.items():
        if value != place[name]:
            raise SettingsError(
                f"The lake {environment!r} has {name} {place[name]!r}, but the run requests {value!r}",
                allowed=f"the {name} that it has: the lake's data does not move",
                action=f"leave {name} empty, or set up another environment",
                environment=environment,
            )
    return replace(lake, **place)


def raw_retention_days(clients: Clients, lake: Lake) -> int:
    """Return after how many days raw objects with verified Parquet may be deleted; 0: never."""
    text = _parameter(clients, lake.lake_parameter)
    return 0 if text is None else int(json.loads(text).get("raw_retention_days", 0))


def find_topic(clients: Clients, lake: Lake) -> str | None:
    """Return the ARN of the lake's topic; None where its stack is from before the lake named it."""
    text = _parameter(clients, lake.lake_parameter)
    return None if text is None else json.loads(text).get("topic_arn")


def list_tables(clients: Clients, lake: Lake) -> tuple[str, ...]:
    """Return the names of the lake's tables, in order.

    They are taken from the names of the parameters: settings that cannot be read concern their own table alone.
    """
    return tuple(sorted(read_settings(clients, lake)))


def read_settings(clients: Clients, lake: Lake) -> dict[str, str]:
    """Return the text of each table's settings, by its name: ten tables with each call."""
    pages = clients.ssm.get_paginator("get_parameters_by_path").paginate(Path=lake.settings_path)
    texts = {p["Name"].rpartition("/")[2]: p["Value"] for page in pages for p in page["Parameters"]}
    return {name: text for name, text in texts.items() if re.fullmatch(TABLE_PATTERN, name)}


def load_settings(table: Table) -> TableSettings:
    """Return a table's settings. Raise `SettingsError` with the lake's tables where it is not one of them."""
    names = table.names
    settings = find_settings(table)
    if settings is not None:
        return settings
    known = list_tables(table.clients, names.lake)
    raise SettingsError(
        f"Table {names.table!r} is not set up in the lake {names.lake.environment!r}{meant([names.table], known)}",
        allowed=f"one of {cut(', '.join(known), SHOWN_NAMES)}" if known else "a table; so far none is set up",
        action="run dynalake_setup for it first",
        table=names.table,
    )


def find_settings(table: Table) -> TableSettings | None:
    """Return a table's settings; None where it is not set up. Raise `SettingsError` where they cannot be read."""
    text = _parameter(table.clients, table.names.settings_parameter)
    return None if text is None else TableSettings.from_json(text)


def check_settings(table: Table, wanted: TableSettings, *, update: bool = False) -> TableSettings | None:
    """Return the table's present settings, None where it is not set up.

    Raises `SettingsError` where they differ from `wanted` and the run did not ask to change them (`update`).
    """
    settings = find_settings(table)
    if settings is None or update:
        return settings
    changed = wanted.changed_from(settings)
    if changed:
        listed = "; ".join(f"{name} is {old!r}, requested is {new!r}" for name, (old, new) in changed.items())
        raise SettingsError(
            f"Table {table.names.table!r} is already set up with other settings: {listed}",
            allowed="the settings that it has, or a run that may change them",
            action="trigger the DAG again with update_settings=true to change them",
            table=table.names.table,
        )
    return settings


def check_names(table: Table) -> None:
    """Raise `NameTakenError` where another table of the lake has a Glue name that this one would get."""
    names = table.names
    own = {*names.glue_names}
    for other in list_tables(table.clients, names.lake):
        if other == names.table:
            continue
        shared = sorted(own & {*names.lake.table(other).glue_names})
        if shared:
            raise NameTakenError(
                f"Tables {names.table!r} and {other!r} would share the Glue name {shared[0]!r}",
                allowed="tables whose names differ in more than case and punctuation, within one lake",
                action=f"set up {names.table!r} in another environment",
                table=names.table,
                other=other,
            )


def _default_lake(clients: Clients, environment: str) -> Lake:
    # This checks the name before the first call to AWS.
    Lake(environment, "", "")
    return Lake(environment, clients.account, clients.sts.meta.region_name)


def _place(clients: Clients, lake: Lake) -> dict[str, str] | None:
    text = _parameter(clients, lake.lake_parameter)
    if text is None:
        return None
    values = json.loads(text)
    return {
        "bucket": str(values["bucket"]),
        # A lake from before this choice existed has neither.
        "prefix": str(values.get("prefix", DEFAULT_PREFIX)),
        "time_zone": str(values.get("time_zone", DEFAULT_TIME_ZONE)),
        "kms_key_arn": str(values.get("kms_key_arn", "")),
    }


def _parameter(clients: Clients, name: str) -> str | None:
    with tolerate("ParameterNotFound"):
        return clients.ssm.get_parameter(Name=name)["Parameter"]["Value"]
    return None
