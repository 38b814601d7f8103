"""Attributes that change their type from day to day: one table, one statement over all days, every value as it was."""

from __future__ import annotations

import os
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from dynalake.catalog.partitions import register_days
from dynalake.catalog.tables import read_schema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.compact.lake import noon

from dynalake.clients import Clients
from dynalake.days import shift_day
from tests.aws.compact_lake import DAY, AthenaLake, key, make_lake
from tests.unit.lake.recover import plain
from tests.unit.record.strategies import ITEMS

EXAMPLES = int(os.environ.get("DYNALAKE_ATHENA_EXAMPLES", "3"))
MOVIES = [(f"Movie {n}", 1990 + n % 30, f"{n % 10}.{n % 7}") for n in range(40)]


@pytest.fixture
def new_lake(clients: Clients) -> Callable[[], AthenaLake]:
    """Makes registered tables, each with a name of its own."""
    return lambda: make_lake(clients)


def compact_daily(lake: AthenaLake, days: list[list[dict[str, Any]]]) -> None:
    """Each day's images land, and are compacted the day after."""
    for number, images in enumerate(days):
        day = shift_day(DAY, number)
        register_days(lake.clients, lake.names, [day])
        lake.put(day, "1.gz", lake.lines(images))
        assert lake.run(noon(shift_day(day, 1))).through == day


def test_movies_whose_rating_is_a_number_then_text_then_missing(new_lake: Callable[[], AthenaLake]) -> None:
    def images(rating: Callable[[str], dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            {"id": {"S": title}, "n": {"N": str(year)}, "info": {"M": {"rank": {"N": "1"}, **rating(value)}}}
            for title, year, value in MOVIES
        ]

    lake = new_lake()
    compact_daily(
        lake,
        [
            images(lambda value: {"rating": {"N": value}}),
            images(lambda value: {"rating": {"S": value}}),
            images(lambda value: {}),
        ],
    )
    (info,) = [c for c in read_schema(lake.clients, lake.names).columns if c.name == "info"]
    assert info.glue_type == "struct<rank:bigint,rating:string>"
    rows = lake.query(
        f"SELECT dt, count(*) AS movies, count(info.rating) AS rated, max(info.rating) AS most "
        f'FROM "{lake.names.changes_view}" GROUP BY dt ORDER BY dt'
    )
    assert [(r["dt"], r["movies"], r["rated"]) for r in rows] == [
        (DAY, 40, 40),
        (shift_day(DAY, 1), 40, 40),
        (shift_day(DAY, 2), 40, 0),
    ]
    assert rows[0]["most"] == "9.5"  # a number's JSON text
    assert rows[1]["most"] == '"9.5"'  # a text's
    found = lake.changes()
    assert len(found) == 3 * len(MOVIES)
    by_title = [[i["info"].get("rating") for i in found if i["id"] == title] for title, _, _ in MOVIES]
    for values, (_, _, rating) in zip(by_title, MOVIES, strict=True):
        assert sorted(values, key=repr) == sorted([Decimal(rating), rating, None], key=repr)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(days=st.lists(st.lists(ITEMS, min_size=1, max_size=3), min_size=2, max_size=3))
def test_any_items_over_any_days(new_lake: Callable[[], AthenaLake], days: list[list[dict[str, Any]]]) -> None:
    lake = new_lake()
    images: list[list[dict[str, Any]]] = []
    expected: list[dict[str, Any]] = []
    for day in days:
        images.append([])
        for item in day:
            number = len(expected)
            images[-1].append({**{name: pair[0] for name, pair in item.items()}, **key(number)})
            values = {name: pair[1] for name, pair in item.items()} | {"id": f"item {number}", "n": Decimal(number)}
            expected.append({k: v for k, v in plain(values).items() if v is not None})
    compact_daily(lake, images)
    found = lake.items(f'SELECT * FROM "{lake.names.changes_view}"')
    assert found == sorted(expected, key=lambda item: (item["id"], item["n"]))
