"""How many tasks Airflow maps at once: `core.max_map_length`, by default 1,024. More fail the task they come from."""

from __future__ import annotations

from collections.abc import Sequence

from dynalake.errors import SettingsError

MOST = 1000
"""As many as one run's page in the UI bears, whatever Airflow allows."""


def most_mapped() -> int:
    """Mapped tasks that one task may ask for."""
    from airflow.configuration import conf

    return min(MOST, conf.getint("core", "max_map_length", fallback=MOST))


def check_mapped(tables: Sequence[str]) -> None:
    """Each table gets a mapped task. Raises `SettingsError` where Airflow would not map so many."""
    most = most_mapped()
    if len(tables) > most:
        raise SettingsError(
            f"This run is about {len(tables):,} tables, and each of them needs a mapped task",
            allowed=f"{most:,} tables: Airflow maps no more tasks (core.max_map_length)",
            action="schedule runs that name some of the tables each (tables), or split the lake by environment",
        )
