"""The first comparison: every item that an export or a scan shows, and every row of the lake.

What is left are doubts: items that the lake has not shown, since the reading began, as DynamoDB did. Most of these have
changed in the meantime, so a doubt is not a difference yet.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from dynalake.backfill.export.manifest import load_groups
from dynalake.backfill.export.numbers import Key, item_key
from dynalake.backfill.export.read import exported_item, read_files
from dynalake.backfill.plan.run import BackfillPlan, load_plan, run_name
from dynalake.backfill.source.pace import Pace
from dynalake.backfill.source.source import describe, read_segment
from dynalake.certify.canonical import digest
from dynalake.certify.certification import (
    Certification,
    InDoubt,
    difference_kind,
    load_certification,
    save_certification,
)
from dynalake.certify.key_shares import KeyShares, count_shares
from dynalake.certify.versions import SKEW_MS, ItemVersion, newest, read_versions, shown_since
from dynalake.lake.catalog.clock import now_ms
from dynalake.lake.catalog.table import Table
from dynalake.record.key import ItemKey

MOST_DOUBTS = 100_000
"""Most doubts that are read again. With more, the lake is read again first: it may not have all changes yet."""

ATTEMPTS = 3
PAUSE_SECONDS = 600.0

_SAID = 1_000_000

T = TypeVar("T")


@dataclass
class Tally:
    """The results of shares, added up."""

    rows: int = 0
    doubts: list[InDoubt] = field(default_factory=list)
    unread: Counter[str] = field(default_factory=Counter)

    def add(self, images: Iterable[tuple[Key, str]], versions: Mapping[Key, list[ItemVersion]], since: int) -> None:
        """Compare a share of the table's items with the lake's versions of the same keys (pure)."""
        found = set()
        for key, image in images:
            found.add(key)
            self._judge(key, image, versions.get(key, ()), since)
        for key, of_key in versions.items():
            self.rows += newest(of_key) is not None
            if key not in found:
                self._judge(key, None, of_key, since)

    def _judge(self, key: Key, image: str | None, versions: Any, since: int) -> None:
        if image in shown_since(versions, since):
            return
        if len(self.doubts) < MOST_DOUBTS:
            self.doubts.append(InDoubt(key, image))
        else:
            self.unread[difference_kind(image, newest(versions))] += 1


def compare_items(
    table: Table,
    *,
    run: str,
    say: Callable[[str], None] = lambda line: None,
    clock: Callable[[], int] = now_ms,
    sleep: Callable[[float], None] = time.sleep,
) -> Certification:
    """Compare every item of the planned and, if so, exported `run` (the Airflow run id), and store the result.

    A run that was compared stays as it is. Needs disk for a line per item, and memory for one share of them. Raises
    `SourceError` for another table than the lake has, and `LedgerError` for a damaged export.
    """
    plan = load_plan(table, run_name(run))
    if (before := load_certification(table, plan.run)) is not None:
        return before
    key = ItemKey.of(describe(table, plan.table_id))
    exported_at = load_groups(table, plan.run).exported_at if plan.method == "export" else None
    since = clock() if exported_at is None else exported_at
    count = count_shares(max(plan.estimated_items, sum(f.rows for f in table.items().files())))
    with TemporaryDirectory(prefix="dynalake-certify-") as name:
        items = KeyShares(Path(name) / "items", count)
        for item in _said(_read_items(table, plan), "items read", say):
            items.put(item_key(key, item), digest(item))
        for attempt in range(ATTEMPTS):
            tally = _compare(table, key, items, Path(name) / f"lake-{attempt}", since - SKEW_MS, count, say)
            if not tally.unread or attempt == ATTEMPTS - 1:
                break
            say(f"More than {MOST_DOUBTS:,} items differ: the lake is read again once it has more changes")
            sleep(PAUSE_SECONDS)
    certification = Certification(
        table.names.table,
        plan.run,
        plan.method,
        since,
        items.entries,
        tally.rows,
        tuple(tally.doubts),
        dict(tally.unread),
    )
    save_certification(table, certification)
    return certification


def _compare(
    table: Table, key: ItemKey, items: KeyShares, directory: Path, since: int, count: int, say: Callable[[str], None]
) -> Tally:
    lake, tally = KeyShares(directory, count), Tally()
    for row in _said(read_versions(table, key), "rows of the lake read", say):
        version = row.version
        lake.put(row.key, version.order, version.time, version.operation, version.image)
    for number in range(count):
        versions: dict[Key, list[ItemVersion]] = {}
        for parts, entry in lake.read(number):
            versions.setdefault(parts, []).append(ItemVersion(*entry))
        tally.add(((parts, image) for parts, (image,) in items.read(number)), versions, since)
    return tally


def _read_items(table: Table, plan: BackfillPlan) -> Iterator[Mapping[str, Any]]:
    """Yield every item of the export, or of a scan at the plan's pace."""
    if plan.method == "export":
        for group in load_groups(table, plan.run).groups:
            for line in read_files(table, group):
                yield exported_item(*line)
        return
    pace = Pace(lambda: plan.max_read_capacity)
    yield from read_segment(table, segment=0, segments=1, after=None, consistent=plan.consistent, pace=pace)


def _said(values: Iterable[T], what: str, say: Callable[[str], None]) -> Iterator[T]:
    number = 0
    for number, value in enumerate(values, 1):
        if number % _SAID == 0:
            say(f"{number:,} {what}")
        yield value
    say(f"{number:,} {what}")
