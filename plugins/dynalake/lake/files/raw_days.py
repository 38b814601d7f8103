"""A day of the raw zone compared with its live folders: which objects are converted, which are not, which are gone.

A raw object is converted where a live folder of its own day names its key and ETag. So a day needs its own folders
alone, and any number of days can be read one after the other.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

from dynalake.aws.s3 import Store, StoredObject
from dynalake.days import check_day, parse_day
from dynalake.errors import SettingsError
from dynalake.lake.catalog.iceberg import DataFile, Head
from dynalake.lake.catalog.table import Table
from dynalake.lake.files.folders import FolderManifest, read_manifests
from dynalake.lake.files.references import stream_files

_AHEAD = 8  # days that are read at the same time


@dataclass(frozen=True)
class RawDay:
    """A day: its raw objects by key, and the manifests of its live folders; None where one is missing."""

    day: str
    objects: Mapping[str, StoredObject]
    manifests: Mapping[str, FolderManifest | None]

    @cached_property
    def named(self) -> Mapping[str, frozenset[str]]:
        """Key → ETags that live folders name, of objects of this day."""
        by_key: dict[str, set[str]] = defaultdict(set)
        for manifest in self.manifests.values():
            for raw in () if manifest is None else manifest.inputs:
                if parse_day(raw.key) == self.day:
                    by_key[raw.key].add(_plain(raw.etag))
        return {key: frozenset(etags) for key, etags in by_key.items()}

    @property
    def converted(self) -> tuple[StoredObject, ...]:
        """Objects from whose current bytes live rows were made."""
        return tuple(o for o in self.objects.values() if _plain(o.etag) in self.named.get(o.key, ()))

    @property
    def unnamed(self) -> tuple[StoredObject, ...]:
        """Objects that have to be converted, or converted again because they have other bytes now."""
        return tuple(o for o in self.objects.values() if _plain(o.etag) not in self.named.get(o.key, ()))

    @property
    def gone(self) -> tuple[str, ...]:
        """Keys of objects from which live rows were made and that no longer exist."""
        return tuple(sorted(self.named.keys() - self.objects.keys()))

    @property
    def without_manifest(self) -> tuple[str, ...]:
        """Live folders without a manifest."""
        return tuple(folder for folder, manifest in self.manifests.items() if manifest is None)


def read_raw_day(table: Table, day: str, folders: Collection[str]) -> RawDay:
    """Read a day. `folders`: its live folders."""
    objects = {o.key: o for o in list_raw(table.store, table.names.raw_day(day))}
    return RawDay(day, objects, read_manifests(table, folders))


def read_raw_days(table: Table, days: Iterable[str], folders: Mapping[str, Collection[str]]) -> Iterator[RawDay]:
    """Yield days in the given order, some of them read ahead. `folders`: the live folders of each day."""
    with ThreadPoolExecutor(_AHEAD) as pool:
        ahead: deque[Future[RawDay]] = deque()
        for day in days:
            ahead.append(pool.submit(read_raw_day, table, day, folders.get(day, ())))
            if len(ahead) == _AHEAD:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def list_raw(store: Store, prefix: str, after: str = "") -> Iterator[StoredObject]:
    """Yield the objects below a prefix (`Store.list`) without empty ones and hidden ones (`is_hidden`)."""
    return (o for o in store.list(prefix, after) if o.size and not is_hidden(o.key, prefix))


def is_hidden(key: str, prefix: str) -> bool:
    """Return whether the object's name, or a folder in its path below `prefix`, begins with `.` or `_`.

    Athena, Trino and Spark treat such objects as a program's notes, not as data.
    https://docs.aws.amazon.com/athena/latest/ug/tables-location-format.html
    """
    below = key.removeprefix(prefix)
    if prefix and not prefix.endswith("/"):
        below = below.partition("/")[2]  # the rest of a name that begins in the prefix
    return below.startswith((".", "_")) or "/." in below or "/_" in below


def list_raw_days(table: Table) -> tuple[str, ...]:
    """List the days that have raw objects, the first one first: one call per thousand days."""
    folders = table.store.folders(table.names.raw_prefix)
    return tuple(sorted(day for name in folders if is_day(day := name.removeprefix("dt="))))


def is_day(text: str) -> bool:
    """Return whether a text is a `dt`, that of the snapshot included."""
    try:
        return check_day(text) == text
    except SettingsError:
        return False


def folders_by_day(files: Iterable[DataFile]) -> dict[str, set[str]]:
    """Return the folders of these files by their day, without another engine's files, which have none."""
    folders: dict[str, set[str]] = defaultdict(set)
    for file in files:
        if file.folder:
            folders[file.partition].add(file.folder)
    return dict(folders)


def live_folders(head: Head) -> dict[str, set[str]]:
    """Return the live folders of each day, however many files there are."""
    return folders_by_day(stream_files(head))


def _plain(etag: str) -> str:
    return etag.strip('"')
