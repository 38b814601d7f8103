"""When the scheduled DAGs run, which must be known when they are parsed."""

from __future__ import annotations

import os
from datetime import timedelta

from dynalake.errors import SettingsError

EVERY = "DYNALAKE_CONVERT_EVERY_MINUTES"


def convert_every() -> timedelta:
    """Return how often `dynalake_convert` runs. Raise `SettingsError` if that is not allowed."""
    text = os.environ.get(EVERY) or "10"
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 1440:
        raise SettingsError(
            f"The environment variable {EVERY} is {text!r}",
            allowed="a whole number of minutes from 1 to 1440",
            action="correct it where Airflow's DAG processor runs",
        )
    return timedelta(minutes=int(text))


def compact_schedule() -> str:
    """Return when `dynalake_compact` runs, as a cron expression."""
    return os.environ.get("DYNALAKE_COMPACT_SCHEDULE") or "0 2 * * *"


def certify_schedule() -> str:
    """Return when `dynalake_certify` runs, as a cron expression."""
    return os.environ.get("DYNALAKE_CERTIFY_SCHEDULE") or "0 6 * * 0"
