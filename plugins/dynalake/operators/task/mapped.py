"""The number of tasks that Airflow maps at once. Beyond `core.max_map_length`, by default 1,024, it fails the task."""

from __future__ import annotations

from collections.abc import Sequence

from dynalake.errors import SettingsError

MOST = 1000
"""Most tasks that the UI's page of a run shows well, whatever Airflow allows."""


def most_mapped() -> int:
    """Return how many mapped tasks one task may request."""
    from airflow.configuration import conf

    return min(MOST, conf.getint("core", "max_map_length", fallback=MOST))


def check_mapped(tables: Sequence[str]) -> None:
    """Raise `SettingsError` if Airflow would not map a task for each table."""
    most = most_mapped()
    if len(tables) > most:
        raise SettingsError(
            f"This run has {len(tables):,} tables, and each of them needs a mapped task",
            allowed=f"{most:,} tables: Airflow maps no more tasks (core.max_map_length)",
            action="schedule several runs with some of the tables each ('tables'), or split the lake by environment",
        )
