"""The folders of the table of changes, `dt=D/v={uuid}/`, and the raw objects of each.

A folder is written by one attempt and never again. Its manifest lies outside of the table, where no reader takes it for
data and no cleaner for an orphan. All raw objects except those that the manifests of live folders name are still to be
converted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, NamedTuple
from uuid import uuid4

from dynalake.aws.s3 import Store
from dynalake.errors import ConflictError
from dynalake.lake.catalog.table import Table

_AT_ONCE = 16


class Input(NamedTuple):
    """A raw object that was read: the bytes behind this ETag."""

    key: str
    etag: str
    size: int


class Part(NamedTuple):
    """A file of a folder: its `s3://` address, its bytes, its rows."""

    path: str
    size: int
    rows: int


@dataclass(frozen=True)
class Sums:
    """Counts of the inputs' lines by what became of them; `rows` are those of all folders made of the same inputs."""

    lines: int = 0
    rows: int = 0
    duplicates: int = 0
    repeats: int = 0
    canaries: int = 0
    rejected: int = 0

    @property
    def add_up(self) -> bool:
        return self.lines == self.rows + self.duplicates + self.repeats + self.canaries + self.rejected


@dataclass(frozen=True)
class FolderManifest:
    """The content of one folder, and its inputs.

    `made_at`: milliseconds since the epoch, when the folder was planned. `misfits`: attribute → its values in `__other`
    (`{"type": …, "count": …}`), by which the nightly compaction plans wider types. `run`: the number of the backfill,
    in the snapshot's folders.
    """

    folder: str
    day: str
    made_at: int
    inputs: tuple[Input, ...]
    parts: tuple[Part, ...]
    sums: Sums = field(default_factory=Sums)
    misfits: Mapping[str, Any] = field(default_factory=dict)
    run: int = 0

    def to_json(self) -> str:
        return json.dumps({**asdict(self), "inputs": list(self.inputs), "parts": list(self.parts)}, ensure_ascii=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> FolderManifest:
        values = json.loads(text)
        inputs = tuple(Input(*fields) for fields in values.pop("inputs"))
        parts = tuple(Part(*fields) for fields in values.pop("parts"))
        return cls(inputs=inputs, parts=parts, sums=Sums(**values.pop("sums")), **values)


def new_folder() -> str:
    """Return a new name of a folder."""
    return uuid4().hex


def write_manifest(table: Table, manifest: FolderManifest) -> None:
    """Put a manifest, or find the same one there. Raise `ConflictError` where it is another one."""
    key = table.names.folder_manifest(manifest.folder)
    created = table.store.create(key, manifest.to_json().encode())
    if created is None and _read(table.store, key) != manifest:
        raise ConflictError(
            f"The folder {manifest.folder} already has another manifest, or one is being written",
            action="plan again: each attempt writes to a folder of its own",
            table=table.names.table,
            key=key,
        )


def delete_strays(table: Table, manifest: FolderManifest) -> None:
    """Delete the files of a folder that are not in its manifest: they are of attempts that do not count."""
    names = table.names
    prefix = names.change_folder(manifest.day, manifest.folder)
    kept = {part.path.removeprefix(names.uri("")) for part in manifest.parts}
    for stored in table.store.list(prefix):
        if stored.key not in kept:
            table.store.delete(stored.key)


def read_manifests(table: Table, folders: Iterable[str]) -> dict[str, FolderManifest | None]:
    """Return the manifests of these folders; None where one is missing, or is not dynalake's."""
    store, chosen = table.store, sorted(set(folders))
    keys = [table.names.folder_manifest(folder) if folder else "" for folder in chosen]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return dict(zip(chosen, pool.map(partial(_read, store), keys), strict=True))


def _read(store: Store, key: str) -> FolderManifest | None:
    stored = store.read(key) if key else None
    try:
        return None if stored is None else FolderManifest.from_json(stored.body)
    except (ValueError, TypeError, KeyError):
        return None
