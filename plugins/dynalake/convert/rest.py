"""A day that is converted again: live rows that no raw object holds any more stay, in a folder of their own.

While the day's raw objects were read, `convert/once.py` found the rows that give way. Files without such rows are not
touched, so the cost is that of the change.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dynalake.convert.batch import BatchResult, unpack_places
from dynalake.errors import ConflictError
from dynalake.lake.catalog.iceberg import DataFile, Head
from dynalake.lake.catalog.table import Table
from dynalake.lake.files.folders import FolderManifest, Sums, new_folder, read_manifests, write_manifest
from dynalake.lake.files.parts import Folder, PartWriter, Writing, parts_of
from dynalake.lake.files.read import arrow_schema_of, read_rows
from dynalake.lake.files.sort import Order, sort_rows
from dynalake.lake.tables.grow import schema_of
from dynalake.record.change import SEQUENCE_NUMBER

_pa: Any = pa  # its stubs take types only as literals; here they are data

_MEMORY_MB = 384


@dataclass(frozen=True)
class Rest:
    """Changes next to the new folders of a day: files that go, and files with those of their rows that stay."""

    replaced: tuple[DataFile, ...] = ()
    added: tuple[DataFile, ...] = ()


def write_rest(
    table: Table,
    head: Head,
    day: str,
    results: Sequence[BatchResult],
    made_at: int,
    writing: Writing,
    directory: Path,
) -> Rest:
    """Write the rows that stay of files with rows that give way, and their manifest; no reader sees it yet.

    Raises `ConflictError` where one of the files is no longer live, or new delete files may apply to it.
    """
    packed_places: dict[str, list[Any]] = defaultdict(list)
    for result in results:
        for path, packed in result.replaced.items():
            packed_places[path].append(unpack_places(packed))
        if result.replaced and head.news_since(result.batch.uuid, result.snapshot).deletes:
            raise _conflict(head, "delete files have been added")
    if not packed_places:
        return Rest()
    places = {path: np.unique(np.concatenate(packed)) for path, packed in packed_places.items()}
    live = {f.path: f for f in head.files({day})}
    missing = sorted(path for path in places if path not in live)
    if missing:
        raise _conflict(head, f"{missing[0]} is no longer part of it")
    replaced = [live[path] for path in sorted(places)]
    if sum(f.rows for f in replaced) == sum(map(len, places.values())):
        return Rest(tuple(replaced))
    folder = new_folder()
    target = Folder(table.names.change_folder(day, folder), day)
    writer = PartWriter(table, head, head.schema, target, writing, directory)
    order = Order(arrow_schema_of(head.schema), [*schema_of(head).identity, SEQUENCE_NUMBER])
    added = writer.write(sort_rows(_staying(head, replaced, places), [], order, directory, _MEMORY_MB))
    converted = {key for result in results for key in result.batch.keys}
    manifests = read_manifests(table, {f.folder for f in replaced})
    inputs = {
        i for manifest in manifests.values() if manifest is not None for i in manifest.inputs if i.key not in converted
    }
    rows = sum(f.rows for f in added)
    sums = Sums(lines=rows, rows=rows)
    write_manifest(
        table,
        FolderManifest(folder, day, made_at, tuple(sorted(inputs)), parts_of(added), sums),
    )
    return Rest(tuple(replaced), added)


def _staying(head: Head, files: Sequence[DataFile], places: Mapping[str, Any]) -> Iterator[pa.Table]:
    for file in files:
        replaced = places[file.path]
        first = 0
        for rows in read_rows(head, [file]):
            offsets = replaced[(replaced >= first) & (replaced < first + rows.num_rows)] - first
            first += rows.num_rows
            stays = np.ones(rows.num_rows, bool)
            stays[offsets] = False
            yield rows.filter(_pa.array(stays))


def _conflict(head: Head, what: str) -> ConflictError:
    return ConflictError(
        f"The table {head.name} has changed since the day was read again: {what}",
        action="plan again from the table as it is now",
        table=head.name,
    )
