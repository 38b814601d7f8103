"""The position of an imported change depends on all changes in the lake, converted or not, registered or not."""

from __future__ import annotations

import pytest

from dynalake.backfill.export.numbers import item_key, last_before, look_up
from dynalake.lake.catalog.table import Table
from dynalake.record.change import sequence_after
from tests.support.memory.convert_lake import DAY_MS, HOUR, KEY, Change, ConvertLake

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("converted", [False, True])
def test_an_import_is_placed_by_landed_changes_even_if_glue_lacks_the_day(converted: bool) -> None:
    """Airflow was stopped for two weeks: days landed that no run has registered, listed or converted.

    The change that was captured at nine is older than the window's final state, of ten. The import must come after it.
    """
    lake = ConvertLake()
    lake.create()
    then = lake.now - 14 * DAY_MS
    day = lake.day(14)
    lake.put(day, "1", [Change("a", 100, then - 20 * DAY_MS, "old"), Change("a", 200, then - HOUR, "at nine")])
    if converted:
        # The day by its name: a run lists only the last days by itself.
        lake.run(days=[day])
        assert [row.sequence for row in lake.rows()] == [100, 200]
    else:
        assert lake.run() is None
    written, end = then * 1000, (then + 4 * HOUR) // 1000
    key = item_key(KEY, {"id": {"S": "a"}})
    numbers = look_up(Table(lake.table.clients, lake.names), KEY, {key: {end: last_before(written, end)}})
    number = sequence_after(numbers[key][end], written)
    assert f"{200:040d}" < number < f"{201:040d}"
