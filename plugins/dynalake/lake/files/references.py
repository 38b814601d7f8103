"""Everything that a table, or a Glue partition, still names: garbage collection must leave it alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from pyiceberg.avro.file import AvroFile
from pyiceberg.io import FileIO
from pyiceberg.manifest import (
    DEFAULT_READ_VERSION,
    MANIFEST_ENTRY_SCHEMAS,
    DataFileContent,
    FileFormat,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
)
from pyiceberg.manifest import DataFile as IcebergFile

from dynalake.aws.answers import tolerate
from dynalake.aws.clients import Clients
from dynalake.errors import CatalogError
from dynalake.lake.catalog.iceberg import DataFile, Head, folder_of
from dynalake.names import TableNames

_AT_ONCE = 16


@dataclass(frozen=True)
class References:
    """The named files. `paths`: addresses of files. `folders`: names of folders with at least one named file.

    `prefixes`: addresses, with a slash at the end, below which all is named.
    """

    paths: frozenset[str] = frozenset()
    folders: frozenset[str] = frozenset()
    prefixes: frozenset[str] = field(default_factory=frozenset)

    def __or__(self, other: References) -> References:
        return References(self.paths | other.paths, self.folders | other.folders, self.prefixes | other.prefixes)

    def names(self, address: str) -> bool:
        """Return whether the object of this address (`s3://…`) is named."""
        return address in self.paths or any(above in self.prefixes for above in _above(address))


def find_references(head: Head) -> References:
    """Return what a table names by any of its snapshots, whether current, old or tagged, and by its metadata.

    It names data files, delete files, manifests, their lists, statistics, the metadata itself and its log. Raises
    `CatalogError` where one of these cannot be read: then nothing may be deleted.
    """
    metadata, io = head.iceberg.metadata, head.iceberg.io
    paths = {head.metadata_location, *(entry.metadata_file for entry in metadata.metadata_log)}
    paths |= {s.statistics_path for s in (*metadata.statistics, *metadata.partition_statistics)}
    lists = [s.manifest_list for s in metadata.snapshots]
    paths |= set(lists)
    folders: set[str] = set()
    try:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            listed = pool.map(lambda s: [m.manifest_path for m in s.manifests(io)], metadata.snapshots)
            manifests = {path for those in listed for path in those}
            paths |= manifests
            for files in pool.map(lambda path: list(_live_paths(path, io)), manifests):
                paths.update(files)
                folders.update(folder for path in files if (folder := folder_of(path)))
    except FileNotFoundError as error:
        raise CatalogError(
            f"A kept snapshot of {head.name} names {error}, which is gone",
            action="restore that object (the bucket keeps versions), or let the snapshot expire",
            table=head.name,
        ) from error
    return References(frozenset(map(_plain, paths)), frozenset(folders))


def find_partition_references(clients: Clients, database: str, glue_tables: Iterable[str]) -> References:
    """Return the folders that the partitions of these Glue tables point to. A table that is not there names nothing."""
    prefixes = {
        _plain(location.rstrip("/")) + "/" for name in glue_tables for location in _locations(clients, database, name)
    }
    folders = {folder for prefix in prefixes if (folder := folder_of(f"{prefix}file"))}
    return References(folders=frozenset(folders), prefixes=frozenset(prefixes))


def stream_files(head: Head) -> Iterator[DataFile]:
    """Yield the live data files one by one, as `Head.files` has them, without keeping any."""
    snapshot = head.iceberg.metadata.current_snapshot()
    for manifest in () if snapshot is None else snapshot.manifests(head.iceberg.io):
        if manifest.content == ManifestContent.DATA:
            for file in _live_files(manifest.manifest_path, head.iceberg.io):
                yield DataFile(file, head.schema)


def partitioned_tables(names: TableNames) -> tuple[str, ...]:
    """Return the Glue tables whose partitions may point to folders of the table of changes."""
    return names.parquet_table, names.orc_table


def _locations(clients: Clients, database: str, name: str) -> Iterator[str]:
    pages = clients.glue.get_paginator("get_partitions").paginate(
        DatabaseName=database, TableName=name, ExcludeColumnSchema=True
    )
    with tolerate("EntityNotFoundException"):
        for page in pages:
            for partition in page["Partitions"]:
                if location := partition.get("StorageDescriptor", {}).get("Location"):
                    yield location


def _live_paths(manifest: str, io: FileIO) -> Iterator[str]:
    return (file.file_path for file in _live_files(manifest, io))


def _live_files(manifest: str, io: FileIO) -> Iterator[IcebergFile]:
    """Yield the files of a manifest one by one: with its bounds a wide table's takes half a megabyte."""
    with AvroFile[ManifestEntry](
        io.new_input(manifest),
        MANIFEST_ENTRY_SCHEMAS[DEFAULT_READ_VERSION],
        read_types={-1: ManifestEntry, 2: IcebergFile},
        read_enums={0: ManifestEntryStatus, 101: FileFormat, 134: DataFileContent},
    ) as entries:
        for entry in entries:
            if entry.status != ManifestEntryStatus.DELETED:
                yield entry.data_file


def _above(address: str) -> Iterator[str]:
    """Yield the folders that contain an address, the nearest first."""
    at = address.rfind("/")
    while at > len("s3://"):
        yield address[: at + 1]
        at = address.rfind("/", 0, at)


def _plain(address: Any) -> str:
    """Return the address as the lake writes it: Spark and Hive may say `s3a`."""
    scheme, _, rest = str(address).partition("://")
    return f"s3://{rest}" if scheme in ("s3a", "s3n") else str(address)
