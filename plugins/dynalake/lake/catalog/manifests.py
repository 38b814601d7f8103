"""Manifests of an Iceberg table: merged, so that planning a query does not slow down with the number of commits.

Each commit adds a manifest of its few files. A reader opens every manifest whose range of partitions it may need. So
the small ones are rewritten, in the order of partitions, into manifests of some hundred files: the same files, listed
in fewer places. Like `lake/catalog/iceberg.py`, this module uses what pyiceberg does not promise publicly.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from itertools import chain, pairwise
from typing import Any

from pyiceberg.conversions import from_bytes
from pyiceberg.io import FileIO
from pyiceberg.manifest import DataFile, ManifestContent, ManifestEntry, ManifestFile
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Transaction
from pyiceberg.table.snapshots import Operation, Summary
from pyiceberg.table.update.snapshot import _OverwriteFiles, _SnapshotProducer
from pyiceberg.typedef import EMPTY_DICT
from pyiceberg.types import PrimitiveType

FULL = 500
"""Most files that a merged manifest lists: a query of one day reads them in a tenth of a second."""

_SMALL = FULL // 2
_LARGE = 4 * FULL
_BYTES = 16 << 20
"""Bytes of the manifests that one commit rewrites: a wide table's take about 30 times as much memory when read."""

_GAIN = 8
"""Manifests that a commit must save: fewer are not worth one."""

_GAP_DAYS = 31
_AT_ONCE = 16


@dataclass(frozen=True)
class Listed:
    """A manifest of data files: its address, its bytes, its live files, and the range of their partitions."""

    path: str
    size: int
    files: int
    low: Any
    high: Any


def plan_merge(manifests: Iterable[Listed]) -> frozenset[str]:
    """Return the addresses of the manifests to rewrite in one commit; none where that would save too few.

    These list few files, or so many that a query of one day reads them for a single entry.
    """
    chosen = []
    room = _BYTES
    for manifest in sorted(manifests, key=lambda m: (m.low is None, m.low, m.path)):
        if (manifest.files <= _SMALL or manifest.files > _LARGE) and manifest.size <= room:
            chosen.append(manifest)
            room -= manifest.size
    split = any(m.files > _LARGE for m in chosen)
    if not split and len(chosen) - _expected(chosen) < _GAIN:
        return frozenset()
    return frozenset(m.path for m in chosen)


def _expected(chosen: Sequence[Listed]) -> int:
    """Return about how many manifests they become."""
    held = [m for m in chosen if m.files]
    groups = 1 + sum(_far(manifest.high, following.low) for manifest, following in pairwise(held)) if held else 0
    return groups + sum(m.files for m in held) // FULL


def list_data_manifests(
    manifests: Iterable[ManifestFile], schema: Schema, specs: dict[int, PartitionSpec]
) -> Iterator[Listed]:
    """Yield the manifests of data files with what `plan_merge` needs to know."""
    for manifest in manifests:
        if manifest.content != ManifestContent.DATA:
            continue
        low = high = None
        fields = specs[manifest.partition_spec_id].fields
        if manifest.partitions and len(fields) == 1:
            summary = manifest.partitions[0]
            of = schema.find_type(fields[0].source_id)
            if isinstance(of, PrimitiveType) and None not in (summary.lower_bound, summary.upper_bound):
                low, high = from_bytes(of, summary.lower_bound or b""), from_bytes(of, summary.upper_bound or b"")
        files = (manifest.added_files_count or 0) + (manifest.existing_files_count or 0)
        yield Listed(manifest.manifest_path, manifest.manifest_length, files, low, high)


def _far(day: Any, other_day: Any) -> bool:
    """Return whether two days are too far apart for one manifest; the snapshot's day is far from all."""
    if not isinstance(day, str) or not isinstance(other_day, str):
        return False
    before, after = _ordinal(day), _ordinal(other_day)
    return abs(after - before) > _GAP_DAYS


def _ordinal(day: str) -> int:
    try:
        return date(int(day[:4]), int(day[4:6]), int(day[6:])).toordinal()
    except ValueError:
        return -1_000_000


class ReplaceFiles(_OverwriteFiles):
    """A snapshot without some files, and with others.

    pyiceberg shares one evaluator between threads. It remembers the manifest that it evaluates, so a thread could get
    the answer for another manifest, and miss files. Here one thread at a time may ask.
    """

    def __init__(self, transaction: Transaction, io: FileIO, snapshot_properties: dict[str, str] = EMPTY_DICT) -> None:
        super().__init__(Operation.OVERWRITE, transaction, io, snapshot_properties=snapshot_properties)

    def _build_manifest_evaluator(self, spec_id: int) -> Callable[[ManifestFile], bool]:
        may_match, turn = super()._build_manifest_evaluator(spec_id), threading.Lock()

        def ask(manifest: ManifestFile) -> bool:
            with turn:
                return may_match(manifest)

        return ask


class RewriteManifests(_SnapshotProducer["RewriteManifests"]):
    """A snapshot whose `chosen` manifests are replaced by fewer ones, or by smaller ones. New files may be `added`."""

    def __init__(
        self,
        transaction: Transaction,
        io: FileIO,
        chosen: frozenset[str],
        added: Sequence[DataFile],
        snapshot_properties: dict[str, str] = EMPTY_DICT,
    ) -> None:
        operation = Operation.APPEND if added else Operation.REPLACE
        super().__init__(operation, transaction, io, snapshot_properties=snapshot_properties)
        self._chosen = chosen
        for file in added:
            self.append_data_file(file)

    def _deleted_entries(self) -> list[ManifestEntry]:
        return []

    def _existing_manifests(self) -> list[ManifestFile]:
        snapshot = self._transaction.table_metadata.snapshot_by_name(self._target_branch)
        manifests = [] if snapshot is None else snapshot.manifests(self._io)
        replaced = [m for m in manifests if m.manifest_path in self._chosen]
        kept = [m for m in manifests if m.manifest_path not in self._chosen]
        by_spec: dict[int, list[ManifestFile]] = {}
        for manifest in replaced:
            by_spec.setdefault(manifest.partition_spec_id, []).append(manifest)
        return [*chain.from_iterable(self._merge(spec, those) for spec, those in by_spec.items()), *kept]

    def _merge(self, spec_id: int, manifests: list[ManifestFile]) -> list[ManifestFile]:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            entries = list(chain.from_iterable(pool.map(self.fetch_manifest_entry, manifests)))
        entries.sort(key=lambda e: (_partition(e) is None, _partition(e), e.data_file.file_path))
        merged = []
        for group in cut(entries):
            with self.new_manifest_writer(self.spec(spec_id)) as writer:
                for entry in group:
                    writer.existing(entry)
            merged.append(writer.to_manifest_file())
        return merged

    def _summary(self, snapshot_properties: dict[str, str] = EMPTY_DICT) -> Summary:
        """Return the totals of the snapshot before where the files are the same."""
        if self._operation == Operation.APPEND:
            return super()._summary(snapshot_properties)
        before = self._transaction.table_metadata.snapshot_by_name(self._target_branch)
        known = {} if before is None or before.summary is None else before.summary.additional_properties
        totals = {name: value for name, value in known.items() if name.startswith("total-")}
        return Summary(Operation.REPLACE, **totals, **snapshot_properties)


def cut(entries: Iterable[ManifestEntry]) -> Iterator[list[ManifestEntry]]:
    """Yield groups of at most `FULL` entries; none spans days that are far apart."""
    group: list[ManifestEntry] = []
    for entry in entries:
        if group and (len(group) == FULL or _far(_partition(group[-1]), _partition(entry))):
            yield group
            group = []
        group.append(entry)
    if group:
        yield group


def _partition(entry: ManifestEntry) -> Any:
    return entry.data_file.partition[0] if len(entry.data_file.partition) else None
