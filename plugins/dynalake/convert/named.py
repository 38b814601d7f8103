"""The converted raw objects: those that the manifests of live folders name.

A batch always has a folder in the day of its raw objects, even if its only file has no rows (`convert/batch.py`). So
the live folders of a day show which of its objects are converted, however old the table is.

Manifests, Iceberg's too, are never written again. So one object in the state prefix keeps what earlier runs have read,
and a run over an open day with 144 folders reads that object and the manifests that came since. It is a copy: the table
always shows which folders are live, and without the copy everything is read again. It names the version of the table
that it was made from: while Glue still has that version, a run with nothing to do reads nothing else of the table.
"""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dynalake.days import SNAPSHOT_DAY, parse_day
from dynalake.lake.catalog.iceberg import Folders, Head
from dynalake.lake.catalog.table import Table
from dynalake.lake.files.folders import Input, read_manifests

ETags = dict[str, set[str]]
"""Key of a raw object → the ETags under which live folders name it."""

_Inputs = tuple[tuple[str, str], ...]  # key without the table's prefix, ETag


@dataclass(frozen=True)
class NamedCopy:
    """The content of manifests read so far, of the days from `since` on.

    `manifests`: Iceberg manifest → day and folder of its live files. `folders`: folder → the inputs of its own day.
    `location`: the metadata of the table whose live folders these are.
    """

    since: str = ""
    manifests: Mapping[str, Folders] = field(default_factory=dict)
    folders: Mapping[str, _Inputs] = field(default_factory=dict)
    location: str = ""

    def names(self, table: Table, inputs: Iterable[Input], first: str) -> bool:
        """Return whether that version of the table has live folders that name these inputs, of days from `first` on."""
        if not self.location or self.since > first:
            return False
        named = {pair for pairs in self.folders.values() for pair in pairs}
        prefix = table.names.raw_prefix
        return all((i.key.removeprefix(prefix), i.etag) in named for i in inputs)

    def to_bytes(self) -> bytes:
        values = {
            "since": self.since,
            "manifests": self.manifests,
            "folders": self.folders,
            "location": self.location,
        }
        return gzip.compress(json.dumps(values, ensure_ascii=True).encode(), mtime=0)

    @classmethod
    def from_bytes(cls, body: bytes) -> NamedCopy:
        """Return the copy from the bytes of `to_bytes`; an empty one for other bytes."""
        try:
            values: Any = json.loads(gzip.decompress(body))
            manifests = {path: tuple(map(_pair, pairs)) for path, pairs in values["manifests"].items()}
            folders = {folder: tuple(map(_pair, pairs)) for folder, pairs in values["folders"].items()}
            return cls(str(values["since"]), manifests, folders, str(values.get("location", "")))
        except (ValueError, TypeError, KeyError, EOFError, OSError, AttributeError):
            return cls()


def find_named(table: Table, head: Head, days: Collection[str], first: str, copy: NamedCopy | None = None) -> ETags:
    """Return the raw objects of these days that live folders of the head name.

    `first` is the first day that every run needs: what is read of it and later days is kept for the next run. Days
    before it are read each time. `copy`: the kept one, where it was read before.
    """
    named: ETags = defaultdict(set)
    inputs = _of_recent(table, head, first, read_copy(table) if copy is None else copy)
    older = {day for day in days if SNAPSHOT_DAY < day < first}
    if older:
        inputs |= _read(table, {f.folder: f.partition for f in head.files(older) if f.folder})
    for key, etag in (pair for pairs in inputs.values() for pair in pairs):
        named[f"{table.names.raw_prefix}{key}"].add(etag)
    return dict(named)


class NamedFolders:
    """The raw objects that folders name; each folder is read once."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._inputs: dict[str, frozenset[tuple[str, str]]] = {}

    def find(self, inputs: Iterable[Input], folders: Collection[str]) -> str:
        """Return the key of one of the inputs that one of the folders names; '' where none does."""
        fresh = [folder for folder in folders if folder not in self._inputs]
        for folder, manifest in read_manifests(self._table, fresh).items():
            manifest_inputs = manifest.inputs if manifest is not None else ()
            self._inputs[folder] = frozenset((i.key, i.etag) for i in manifest_inputs)
        named = {pair for folder in folders for pair in self._inputs[folder]}
        return next((i.key for i in inputs if (i.key, i.etag) in named), "")


def _of_recent(table: Table, head: Head, first: str, stored: NamedCopy) -> dict[str, _Inputs]:
    """Return the inputs of each live folder of the days from `first` on."""
    known = stored if stored.since and stored.since <= first else NamedCopy()
    live_folders = head.folders(first, known.manifests)
    manifests = {path: tuple(pair for pair in pairs if pair[0] >= first) for path, pairs in live_folders.items()}
    live = {folder: day for pairs in manifests.values() for day, folder in pairs if folder}
    folders = {folder: known.folders[folder] for folder in live if folder in known.folders}
    folders |= _read(table, {folder: day for folder, day in live.items() if folder not in folders})
    copy = NamedCopy(first, manifests, folders, head.metadata_location)
    if copy != stored:
        table.store.write(table.names.named_objects, copy.to_bytes())
    return folders


def _read(table: Table, live: Mapping[str, str]) -> dict[str, _Inputs]:
    """Return the inputs of these folders (folder → day), of their own days. Leave out folders without a manifest."""
    manifests = read_manifests(table, live)
    prefix = table.names.raw_prefix
    return {
        folder: tuple((i.key.removeprefix(prefix), i.etag) for i in manifest.inputs if parse_day(i.key) == live[folder])
        for folder, manifest in manifests.items()
        if manifest is not None
    }


def read_copy(table: Table) -> NamedCopy:
    """Return what earlier runs have kept; an empty copy where there is none."""
    stored = table.store.read(table.names.named_objects)
    return NamedCopy() if stored is None else NamedCopy.from_bytes(stored.body)


def _pair(values: Any) -> tuple[str, str]:
    first, second = values
    return str(first), str(second)
