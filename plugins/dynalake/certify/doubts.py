"""Doubts, settled: each such item is read again, strongly consistent, and the lake must show that image in time.

An item that changes all the time is settled, too: the lake may show the image now, or have shown it since the reading.
Where it has not, twice the freshness target later, the item differs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from dynalake.certify.certification import (
    Certification,
    InDoubt,
    difference_kind,
    load_certification,
    save_certification,
)
from dynalake.certify.versions import SKEW_MS, ItemVersion, LakeItem, newest, read_versions, shown_since
from dynalake.errors import NotReadyError, SettingsError, cut
from dynalake.lake.catalog.clock import now_ms
from dynalake.lake.catalog.table import Table
from dynalake.record.key import ItemKey

PATIENCE = 2
"""Freshness targets that a change may take before its item counts as different."""


def settle_doubts(
    table: Table,
    *,
    run: str,
    target_minutes: int,
    conclude: bool = True,
    clock: Callable[[], int] = now_ms,
) -> Certificate:
    """Return the certificate of a compared `run` (the Airflow run id), and store it.

    Raises `NotReadyError` while some doubts may still be changes under way: for `PATIENCE` times `target_minutes`, and
    where nothing may be concluded (`conclude`), because changes do not land as they should. Raises `SettingsError`
    where another run has compared the table since: a table has one certification at a time.
    """
    certification = load_certification(table, run_name(run))
    if certification is None:
        raise SettingsError(
            f"{table.names.table} was compared by another run in the meantime",
            allowed="one run of dynalake_certify for a table at a time",
            action="look at the other run's certificate, or trigger dynalake_certify again when it is over",
            table=table.names.table,
        )
    plan = load_plan(table, certification.run)
    key = ItemKey.of(describe(table, plan.table_id))
    pace = Pace(lambda: plan.max_read_capacity)
    if certification.doubts and not certification.read_at:
        certification = _read_again(table, key, certification, pace, clock())
    versions: dict[Key, list[ItemVersion]] = {doubt.key: [] for doubt in certification.doubts}
    for row in _read_lake(table, key, certification.doubts):
        versions[row.key].append(row.version)
    since = certification.read_at - SKEW_MS
    left = tuple(d for d in certification.doubts if d.image not in shown_since(versions[d.key], since))
    if left != certification.doubts:
        certification = replace(certification, doubts=left)
        save_certification(table, certification)
    patient = clock() - certification.read_at < PATIENCE * target_minutes * 60_000
    if left and (patient or not conclude):
        raise NotReadyError(
            f"{table.names.table}: {len(left):,} of {certification.reread:,} items that were read again differ so far",
            table=table.names.table,
        )
    kinds = Counter(difference_kind(d.image, newest(versions[d.key])) for d in left)
    named = _name(table, key, left[:NAMED], pace)
    certificate = Certificate.of(
        certification, kinds + Counter(certification.unread), named, plan.estimated_dollars, clock()
    )
    save_certificate(table, certificate)
    return certificate


def _read_again(table: Table, key: ItemKey, certification: Certification, pace: Pace, now: int) -> Certification:
    """Return the certification with what DynamoDB shows of the doubts now, and store it: retries compare with that."""
    images = {item_key(key, item): digest(item) for item in _read_table(table, key, certification.doubts, pace)}
    doubts = tuple(InDoubt(doubt.key, images.get(doubt.key)) for doubt in certification.doubts)
    certification = replace(certification, doubts=doubts, read_at=now, reread=len(doubts))
    save_certification(table, certification)
    return certification


def _read_table(table: Table, key: ItemKey, doubts: Iterable[InDoubt], pace: Pace) -> Iterator[Mapping[str, Any]]:
    return read_items(table, [key_attributes(key, doubt.key) for doubt in doubts], pace)


def _read_lake(table: Table, key: ItemKey, doubts: Iterable[InDoubt]) -> Iterator[LakeItem]:
    wanted = [doubt.key for doubt in doubts]
    return read_versions(table, key, wanted) if wanted else iter(())


def _name(table: Table, key: ItemKey, doubts: Sequence[InDoubt], pace: Pace) -> tuple[Difference, ...]:
    """Return what is told of each difference. The names of attributes are by both items as they are now."""
    items = {item_key(key, item): item for item in _read_table(table, key, doubts, pace)}
    last: dict[Key, LakeItem] = {}
    for read in _read_lake(table, key, doubts):
        last[read.key] = max(read, last.get(read.key, read), key=lambda r: r.version.order)
    named = []
    for doubt in doubts:
        item, row = items.get(doubt.key), last.get(doubt.key)
        in_lake = None if row is None or row.version.image is None else row.item
        attributes = () if item is None or in_lake is None else tuple(map(cut, differing(item, in_lake)))
        kind = difference_kind(doubt.image, in_lake)
        named.append(Difference(show_key(key_attributes(key, doubt.key), key.names), kind, attributes))
    return tuple(named)
