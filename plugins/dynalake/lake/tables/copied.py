"""A table in a copy of its bucket: the metadata, with the addresses of the copy.

Iceberg's metadata, lists and manifests name files by whole addresses, and so those of a copy name the bucket that it
was made of. They are written again under new names, next to the old ones: the same table, with its ids, schemas,
properties and snapshots, and the same data files under their own keys. Nothing of the other bucket is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Literal
from uuid import NAMESPACE_URL, uuid4, uuid5

from pyiceberg.manifest import ManifestContent, ManifestFile, write_manifest, write_manifest_list
from pyiceberg.serializers import ToOutputFile
from pyiceberg.table.snapshots import Snapshot

from dynalake.errors import CatalogError
from dynalake.lake.catalog.file_io import key_of
from dynalake.lake.catalog.iceberg import Head
from dynalake.lake.catalog.metadata_note import metadata_number
from dynalake.lake.catalog.table import Table

_AT_ONCE = 16

_FILE_PATH = 1  # place of `file_path` in a data file of a manifest

_CODEC: Literal["deflate"] = "deflate"  # of Avro files, as pyiceberg's own


def is_copied(table: Table, head: Head) -> bool:
    """Return whether a table's metadata is that of another bucket."""
    return not head.location.startswith(table.names.uri(""))


def readdress(table: Table, head: Head) -> Head:
    """Write the metadata of a table again with this bucket's addresses. Return the table by it.

    Another call, or another run, returns the same metadata. A snapshot without its manifests is left out, as if it had
    expired. Raises `CatalogError` where the table lies elsewhere in the bucket than this lake's would, or has delete
    files, which hold addresses of data files.
    """
    names, io = table.names, head.iceberg.io
    location = names.uri(key_of(head.location))
    _check(table, head)
    original = f"{location}/{head.metadata_location}"
    number = metadata_number(head.metadata_location) + 1
    path = f"{location}/metadata/{number:05d}-{uuid5(NAMESPACE_URL, original)}.metadata.json"
    with suppress(FileNotFoundError):
        return table.catalog.read(head.name, path)  # of a run that was killed, or is doing the same
    metadata = head.iceberg.metadata
    lists = dict(_read_lists(head))
    by_path = {m.manifest_path: m for manifests in lists.values() for m in manifests}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        written = pool.map(lambda m: _write_manifest(table, head, m, location), by_path.values())
        copies = {path: copy for path, copy in zip(by_path, written, strict=True) if copy is not None}

    def copy_of(snapshot: Snapshot) -> Snapshot:
        kept = [copies[m.manifest_path] for m in lists[snapshot.snapshot_id] if m.manifest_path in copies]
        place = f"{location}/metadata/snap-{snapshot.snapshot_id}-0-{uuid4()}.avro"
        output, parent, sequence = io.new_output(place), snapshot.parent_snapshot_id, snapshot.sequence_number
        with write_manifest_list(2, output, snapshot.snapshot_id, parent, sequence, _CODEC) as writer:
            writer.add_manifests(kept)
        return snapshot.model_copy(update={"manifest_list": place})

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        snapshots = list(pool.map(copy_of, (s for s in metadata.snapshots if s.snapshot_id in lists)))
    copied = metadata.model_copy(
        update={
            "location": location,
            "snapshots": snapshots,
            "snapshot_log": [entry for entry in metadata.snapshot_log if entry.snapshot_id in lists],
            "refs": {name: ref for name, ref in metadata.refs.items() if ref.snapshot_id in lists},
            "metadata_log": [],
            "statistics": [],
            "partition_statistics": [],
        }
    )
    with suppress(FileExistsError):
        ToOutputFile.table_metadata(copied, io.new_output(path))
    return table.catalog.read(head.name, path)


def _check(table: Table, head: Head) -> None:
    names = table.names
    own = names.changes_location if head.name == names.changes_table else names.items_location
    if key_of(head.location) != own:
        raise CatalogError(
            f"The table {head.name} is stored in {head.location}, and this lake has its place at {names.uri(own)}",
            allowed="a copy with the keys of the original, and the lake's prefix",
            action="set the lake up with the prefix that the original had, in the copy of its bucket",
            table=names.table,
        )
    if deletes := head.delete_files():
        raise CatalogError(
            f"The table {head.name} has delete files, which another engine wrote, {deletes[0].file_path} first: they "
            "hold addresses of the original bucket",
            action="run dynalake_compact on the original, which applies them, and copy the bucket again; or restore "
            "the bucket under its own name",
            table=names.table,
        )


def _read_lists(head: Head) -> Iterator[tuple[int, list[ManifestFile]]]:
    """Yield the manifests of each snapshot that is whole enough to be read: the current one is."""
    metadata, io = head.iceberg.metadata, head.iceberg.io
    for snapshot in metadata.snapshots:
        with suppress(FileNotFoundError):
            manifests = snapshot.manifests(io)
            if snapshot.snapshot_id == metadata.current_snapshot_id or all(
                m.content == ManifestContent.DATA and io.new_input(m.manifest_path).exists() for m in manifests
            ):
                yield snapshot.snapshot_id, manifests


def _write_manifest(table: Table, head: Head, manifest: ManifestFile, location: str) -> ManifestFile | None:
    """Write a manifest with this bucket's addresses; None where it has no live file."""
    metadata, io = head.iceberg.metadata, head.iceberg.io
    entries = manifest.fetch_manifest_entry(io, discard_deleted=True)
    if not entries:
        return None
    output = io.new_output(f"{location}/metadata/{uuid4()}-m0.avro")
    spec = metadata.specs()[manifest.partition_spec_id]
    snapshot_id = manifest.added_snapshot_id or metadata.current_snapshot_id or 0
    with write_manifest(2, spec, metadata.schema(), output, snapshot_id, _CODEC) as writer:
        for entry in entries:
            entry.data_file[_FILE_PATH] = table.names.uri(key_of(entry.data_file.file_path))
            writer.existing(entry)
    copy = writer.to_manifest_file()
    copy.sequence_number = manifest.sequence_number
    return copy
