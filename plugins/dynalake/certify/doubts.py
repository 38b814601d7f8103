"""Doubts, settled: each such item is read again, strongly consistent, and the lake must show that image in time.

An item that changes all the time is settled, too: the lake may show the image now, or have shown it since the reading.
Where it has not, twice the freshness target later, the item differs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from dynalake.backfill.export.numbers import Key, item_key
from dynalake.backfill.export.vanished import key_attributes
from dynalake.backfill.plan.filter import show_key
from dynalake.backfill.plan.run import load_plan, run_name
from dynalake.backfill.source.pace import Pace
from dynalake.backfill.source.source import describe, read_items
from dynalake.certify.canonical import differing, digest
from dynalake.certify.certificate import NAMED, Certificate, Difference, save_certificate
from dynalake.certify.comparison import Comparison, Doubt, kind_of, load_comparison, save_comparison
from dynalake.certify.versions import SKEW_MS, Row, newest, read_versions, shown_since
from dynalake.errors import NotReadyError, cut
from dynalake.lake.catalog.clock import now_ms
from dynalake.lake.catalog.table import Table
from dynalake.record.key import ItemKey

PATIENCE = 2
"""Freshness targets that a change may take before its item counts as different."""


def settle(
    table: Table,
    *,
    run: str,
    target_minutes: int,
    conclude: bool = True,
    clock: Callable[[], int] = now_ms,
) -> Certificate:
    """Return the certificate of a compared `run` (the Airflow run id), and store it.

    Raises `NotReadyError` while some doubts may still be changes under way: for `PATIENCE` times `target_minutes`, and
    where nothing may be concluded (`conclude`), because changes do not land as they should.
    """
    comparison = load_comparison(table, run_name(run))
    if comparison is None:
        raise NotReadyError(f"{table.names.table} was not compared in this run", table=table.names.table)
    plan = load_plan(table, comparison.run)
    key = ItemKey.of(describe(table, plan.table_id))
    pace = Pace(lambda: plan.max_read_capacity)
    if comparison.doubts and not comparison.read_at:
        comparison = _read_again(table, key, comparison, pace, clock())
    rows = _rows_by_key(table, key, comparison.doubts)
    left = tuple(d for d in comparison.doubts if not _is_shown(d, rows.get(d.key, ()), comparison.read_at))
    if left != comparison.doubts:
        comparison = replace(comparison, doubts=left)
        save_comparison(table, comparison)
    patient = clock() - comparison.read_at < PATIENCE * target_minutes * 60_000
    if left and (patient or not conclude):
        raise NotReadyError(
            f"{table.names.table}: {len(left):,} of {comparison.reread:,} items that were read again differ so far",
            table=table.names.table,
        )
    named = _name(table, key, left[:NAMED], rows, pace)
    kinds = Counter(kind_of(d.image, newest(r.version for r in rows.get(d.key, ()))) for d in left)
    certificate = Certificate.of(comparison, kinds + Counter(comparison.unread), named, plan.estimated_dollars, clock())
    save_certificate(table, certificate)
    return certificate


def _read_again(table: Table, key: ItemKey, comparison: Comparison, pace: Pace, now: int) -> Comparison:
    """Return the comparison with what DynamoDB shows of the doubts now, and store it: retries compare with that."""
    found = _find(table, key, [doubt.key for doubt in comparison.doubts], pace)
    images = {parts: digest(item) for parts, item in found.items()}
    doubts = tuple(Doubt(doubt.key, images.get(doubt.key)) for doubt in comparison.doubts)
    comparison = replace(comparison, doubts=doubts, read_at=now, reread=len(doubts))
    save_comparison(table, comparison)
    return comparison


def _find(table: Table, key: ItemKey, keys: Iterable[Key], pace: Pace) -> dict[Key, Mapping[str, Any]]:
    return {item_key(key, i): i for i in read_items(table, [key_attributes(key, parts) for parts in keys], pace)}


def _rows_by_key(table: Table, key: ItemKey, doubts: Iterable[Doubt]) -> dict[Key, list[Row]]:
    rows: dict[Key, list[Row]] = {}
    wanted = [doubt.key for doubt in doubts]
    for row in read_versions(table, key, wanted) if wanted else ():
        rows.setdefault(row.key, []).append(row)
    return rows


def _is_shown(doubt: Doubt, rows: Iterable[Row], read_at: int) -> bool:
    return doubt.image in shown_since([row.version for row in rows], read_at - SKEW_MS)


def _name(
    table: Table, key: ItemKey, doubts: Iterable[Doubt], rows: Mapping[Key, list[Row]], pace: Pace
) -> tuple[Difference, ...]:
    """Return what is told of each difference. The names of attributes are by the item as it is now."""
    found = _find(table, key, [doubt.key for doubt in doubts], pace)
    named = []
    for doubt in doubts:
        of_key = rows.get(doubt.key, [])
        last = max(of_key, key=lambda row: row.version.order, default=None)
        kind = kind_of(doubt.image, None if last is None else last.version.image)
        item = found.get(doubt.key)
        attributes: tuple[str, ...] = ()
        if last is not None and item is not None and last.version.image is not None:
            attributes = tuple(cut(name) for name in differing(item, last.item))
        named.append(Difference(show_key(key_attributes(key, doubt.key), key.names), kind, attributes))
    return tuple(named)
