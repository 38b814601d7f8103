"""The form of `dynalake_convert`, and how often it runs."""

from __future__ import annotations

import os
from datetime import timedelta

from airflow.sdk import Param

from dynalake.errors import SettingsError
from dynalake.operators.parameters.engine import engine_parameters
from dynalake.operators.parameters.which import RUN, tables_parameter, where_parameters

EVERY = "DYNALAKE_CONVERT_EVERY_MINUTES"


def convert_every() -> timedelta:
    """Return how often the DAG runs, when it is parsed. Raise `SettingsError` if that is not allowed."""
    text = os.environ.get(EVERY) or "10"
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 1440:
        raise SettingsError(
            f"The environment variable {EVERY} is {text!r}",
            allowed="a whole number of minutes from 1 to 1440",
            action="correct it where Airflow's DAG processor runs",
        )
    return timedelta(minutes=int(text))


def convert_parameters() -> dict[str, Param]:
    return {
        **tables_parameter(),
        "days": Param(
            [],
            type="array",
            items={"type": "string"},
            title="Convert these days again",
            description_md="**YYYYMMDD**, one per line: reads all raw objects of these days again. Their rows replace "
            "rows of the same changes in that day; rows that are in no raw object any more stay. Empty: only what has "
            "landed since.",
            section=RUN,
        ),
        **engine_parameters("raw objects"),
        **where_parameters(),
    }
