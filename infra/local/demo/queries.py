"""The demo's SQL: a data engineer's first queries on the new lake, with DuckDB on its Iceberg tables."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Mapping
from functools import partial
from numbers import Number
from typing import Any

import pandas as pd

from dynalake.aws.clients import Clients
from dynalake.lake.catalog.table import Table
from infra.local.demo.items import INVENTED
from infra.local.demo.lake import LakeReader, Moment
from infra.local.demo.progress import DemoFailed, Screen

ENVIRONMENT = "dev"
LAND_SECONDS = 240
WIDTH, CELL = 100, 28
"""The most characters of a row, and of a value that is no number, that the demo shows."""


class Lake(LakeReader):
    """The demo's lake and its raw objects."""

    def __init__(self, client: Callable[[str], Any], aws: Mapping[str, str], table: str) -> None:
        from dynalake.capture.lake.registry import load_lake

        clients = Clients(client)
        super().__init__(Table(clients, load_lake(clients, ENVIRONMENT).table(table)), aws)
        self._landed: dict[str, set[str]] = {}

    def wait_for_changes(self, written: int, first_day: str, screen: Screen) -> int:
        """Wait until every change has landed; return how many. A change that arrived twice counts once."""
        deadline = time.monotonic() + LAND_SECONDS
        while True:
            landed = self._count_landed(first_day)
            if landed >= written:
                return landed
            if time.monotonic() > deadline:
                raise DemoFailed(f"Only {landed:,} of {written:,} changes landed within {LAND_SECONDS} s")
            screen.status(f"{landed:,} of {written:,} changes landed in S3")
            time.sleep(0.5)

    def _count_landed(self, first_day: str) -> int:
        """Return the number of distinct changes in raw objects from this day on; each object is read once."""
        names, s3 = self.table.names, self.table.clients.s3
        pages = s3.get_paginator("list_objects_v2").paginate(
            Bucket=names.lake.bucket, Prefix=names.raw_prefix, StartAfter=f"{names.raw_prefix}dt={first_day}"
        )
        for key in (entry["Key"] for page in pages for entry in page.get("Contents", ())):
            if key not in self._landed:
                with s3.get_object(Bucket=names.lake.bucket, Key=key)["Body"] as body:
                    raw = body.read()
                lines = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).splitlines()
                records = [json.loads(line) for line in lines if line]
                self._landed[key] = {r["__sequence_number"] for r in records if r["__operation"] != "CANARY"}
        return len(set().union(*self._landed.values()))


def show_results(lake: Lake, screen: Screen, first_day: str, written: int) -> bool:
    """Print the results and the comparison; return whether all counts and values agree."""
    names, now = lake.table.names, lake.now()
    per_day = lake.rows(
        f"SELECT dt, __operation AS operation, count(*) AS changes, epoch_ms(max(__event_time)) AS last "
        f"FROM {now.changes} GROUP BY 1, 2 ORDER BY 1, 2"
    )
    _show(f"changes per day and operation, from {names.changes_table}; times in UTC", per_day)
    _show(*_few(lake, now))

    changes = sum(row["changes"] for row in per_day if row["dt"] >= first_day)
    comparison = lake.compare()
    print(f"\n{comparison.text()}", flush=True)
    sums = {
        f"changes written {written:,} = changes in {names.changes_table} {changes:,}": written == changes,
        f"{names.current_view} equals the DynamoDB table {names.table}, value by value": comparison.same,
    }
    screen.line("")
    for text, holds in sums.items():
        screen.line(f"{'✓' if holds else '✗'} {text}")
    return all(sums.values())


def _few(lake: Lake, now: Moment) -> tuple[str, list[dict[str, Any]]]:
    """Return a query of a few of the table's own columns, and its rows: as many columns as a terminal shows."""
    keys = [column.name for column in now.schema.key_columns]
    order = ", ".join(f'"{name}"' for name in keys)
    rows = lake.rows(f"SELECT * FROM {now.current} ORDER BY {order} LIMIT 3")
    columns = [c for c in now.schema.columns if c.name not in keys and c.attribute != INVENTED]
    # First those with a plain name and plain values, and none that has nothing to show.
    columns.sort(key=lambda c: (any(isinstance(row[c.name], list | dict) for row in rows), c.name != c.attribute))
    chosen, width = keys, sum(map(partial(_width, rows), keys))
    for name in (c.name for c in columns if any(row[c.name] is not None for row in rows)):
        if width + _width(rows, name) <= WIDTH:
            chosen, width = [*chosen, name], width + _width(rows, name)
    sql = f"SELECT {', '.join(chosen)} FROM {lake.table.names.current_view} ORDER BY {', '.join(keys)} LIMIT 3"
    return sql, [{name: _text(row[name]) for name in chosen} for row in rows]


def _width(rows: list[dict[str, Any]], name: str) -> int:
    return 1 + max(len(name), *(len(_text(row[name])) for row in rows))


def _text(value: object) -> str:
    text = "NULL" if value is None else " ".join(str(value).split())
    return text if len(text) <= CELL or isinstance(value, Number) else f"{text[: CELL - 1]}…"


def _show(title: str, rows: list[dict[str, Any]]) -> None:
    indented = pd.DataFrame(rows).to_string(index=False).replace("\n", "\n    ")
    print(f"\n  {title}\n    {indented}", flush=True)
