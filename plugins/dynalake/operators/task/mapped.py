"""How many tasks Airflow maps at once: `core.max_map_length`, by default 1,024. More fail the task they come from."""

from __future__ import annotations

from collections.abc import Sequence

from dynalake.errors import SettingsError

MOST = 1000
"""Tasks that one run's page in the UI shows well, whatever Airflow allows."""


def most_mapped() -> int:
    """Return how many mapped tasks one task may request."""
    from airflow.configuration import conf

    return min(MOST, conf.getint("core", "max_map_length", fallback=MOST))


def check_mapped(tables: Sequence[str]) -> None:
    """Raise `SettingsError` where Airflow would not map a task for each table."""
    most = most_mapped()
    if len(tables) > most:
        raise SettingsError(
            f"This run is about {len(tables):,} tables, and each of them needs a mapped task",
            allowed=f"{most:,} tables: Airflow maps no more tasks (core.max_map_length)",
            action="schedule runs that name some of the tables each (tables), or split the lake by environment",
        )
