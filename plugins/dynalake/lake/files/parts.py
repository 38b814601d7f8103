"""Rows in order become the parts of one folder: Parquet files of bounded size, whose columns carry their field ids."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.schema import Schema

from dynalake.errors import SettingsError
from dynalake.lake.catalog.iceberg import DataFile, Head
from dynalake.lake.catalog.table import Table
from dynalake.lake.files.folders import Part
from dynalake.lake.files.read import arrow_schema_of
from dynalake.lake.working.threads import prepare_next

CODECS = ("zstd", "snappy", "gzip")

pc: Any = pyarrow.compute

_MB = 1 << 20
_LEVEL = 2  # of zstd: the levels above save less than their time is worth
_DICTIONARY = 1 << 20  # bytes
_WORTH = 0.5  # a column gets a dictionary that takes less than this part of the values themselves
_SOME = 1 << 14
_RARELY = 0.95
"""Part of `_SOME` values that differ if 150,000 or more do in all: too many for a dictionary."""


@dataclass(frozen=True)
class Writing:
    """How parts are written. `part_mb` counts bytes of the file, `row_group_mb` those of the rows in memory."""

    codec: str = "zstd"
    part_mb: int = 256
    row_group_mb: int = 64

    def __post_init__(self) -> None:
        if self.codec not in CODECS:
            raise SettingsError(f"codec is {self.codec!r}", allowed=", ".join(CODECS))
        for name in ("part_mb", "row_group_mb"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} is {getattr(self, name)!r}", allowed="a whole number from 1")


@dataclass(frozen=True)
class Folder:
    """Where parts go: below `prefix` (a key that ends in `/`), named `{word}-{n}-{uuid}.parquet`.

    `partition` is the value of the table's partition column in all rows.
    """

    prefix: str
    partition: Any
    word: str = "part"

    def part(self, number: int) -> str:
        return f"{self.prefix}{self.word}-{number:05d}-{uuid4().hex}.parquet"


class PartWriter:
    """Writes rows into parts, and puts each into the lake once it is full; nothing names them yet."""

    def __init__(
        self,
        table: Table,
        head: Head,
        schema: Schema,
        folder: Folder,
        writing: Writing,
        directory: Path,
        first: int = 0,
        *,
        ahead: bool = True,
    ) -> None:
        """Make a writer. `first`: the number of the first part. `ahead`: a thread prepares the next row group."""
        self._store, self._head, self._schema = table.store, head, schema
        self._folder, self._writing, self._directory = folder, writing, directory
        self._arrow = file_schema(schema)
        self._files: list[DataFile] = []
        self._first, self._ahead = first, ahead

    def write(self, tables: Iterable[pa.Table]) -> tuple[DataFile, ...]:
        """Write the files, at least one, even without rows: it makes the folder live, and so its manifest's inputs.

        `tables` have the columns of the schema, in any order.
        """
        groups = prepare_next(self._group(tables)) if self._ahead else self._group(tables)
        group: pa.Table | None = next(groups, self._arrow.empty_table())
        while group is not None:
            path = self._directory / f"part-{len(self._files):05d}.parquet"
            with self._open(path, group) as writer:
                while group is not None and path.stat().st_size < self._writing.part_mb * _MB:
                    writer.write_table(group, group.num_rows or 1)
                    group = next(groups, None)
            self._files.append(self._put(path))
            path.unlink()
        return tuple(self._files)

    def _put(self, path: Path) -> DataFile:
        key = self._folder.part(self._first + len(self._files))
        self._store.upload(path, key)
        size = path.stat().st_size
        return self._head.data_file(
            self._store.uri(key), self._folder.partition, pq.read_metadata(path), size, self._schema
        )

    def _group(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """Yield the rows in tables, each of which becomes a row group."""
        held: list[pa.Table] = []
        size = 0
        for table in tables:
            weight = max(1, table.nbytes // max(1, table.num_rows))
            while table.num_rows:
                room = max(1, -(-(self._writing.row_group_mb * _MB - size) // weight))
                some, table = table.slice(0, room), table.slice(room)
                held.append(some)
                size += some.num_rows * weight
                if size >= self._writing.row_group_mb * _MB:
                    yield self._together(held)
                    size = 0
        if held:
            yield self._together(held)

    def _together(self, held: list[pa.Table]) -> pa.Table:
        """Return one table of these. Take them from the list, a column at a time, so that no row is there twice."""
        columns: list[Any] = list(pa.concat_tables(held).select(self._arrow.names).columns)
        held.clear()
        for i, column in enumerate(columns):
            columns[i] = column.combine_chunks()
        return pa.table(columns, names=self._arrow.names).cast(self._arrow)

    def _open(self, path: Path, group: pa.Table) -> Any:
        codec: Any = self._writing.codec
        dictionaries: Any = [path for name in group.column_names for path in repeating(name, group[name])]
        # A page is not cut within that many rows, and an item may have 400 KB.
        rows = min(1024, max(16, group.num_rows // self._writing.row_group_mb))
        return pq.ParquetWriter(
            path,
            self._arrow,
            version="1.0",
            compression=codec,
            compression_level=_LEVEL if codec == "zstd" else None,
            use_dictionary=dictionaries,
            dictionary_pagesize_limit=_DICTIONARY,
            write_batch_size=rows,
            store_schema=False,
            write_statistics=True,
        )


def repeating(path: str, column: Any) -> Iterator[str]:
    """Yield the leaves of a column, by their paths in Parquet, that are smaller with a dictionary.

    By default, the writer begins a dictionary for each and goes on without one when it is too large.
    """
    values = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    match values:
        case pa.StructArray():
            for field, child in zip(values.type, values.flatten(), strict=True):
                yield from repeating(f"{path}.{field.name}", child)
        case pa.MapArray():
            start, end = values.offsets[0].as_py(), values.offsets[-1].as_py()
            yield from repeating(f"{path}.key_value.key", values.keys[start:end])
            yield from repeating(f"{path}.key_value.value", values.items[start:end])
        case pa.ListArray():
            yield from repeating(f"{path}.list.element", values.flatten())
        case _ if _repeats(values.drop_null()):
            yield path


def _repeats(values: Any) -> bool:
    count = len(values)
    if not count or pa.types.is_boolean(values.type):
        return False
    if count > _SOME:
        some = values[:: count // _SOME]
        if pc.count_distinct(some).as_py() > len(some) * _RARELY:
            return False
    different: int = pc.count_distinct(values).as_py()
    size = 4 * count + pc.sum(pc.binary_length(values)).as_py() if pa.types.is_string(values.type) else values.nbytes
    entries = different * size / count
    return bool(entries < _DICTIONARY and entries + count * different.bit_length() / 8 < size * _WORTH)


def parts_of(files: Iterable[DataFile]) -> tuple[Part, ...]:
    """Return the files as a folder's manifest lists them."""
    return tuple(Part(f.path, f.size, f.rows) for f in files)


def file_schema(schema: Schema) -> pa.Schema:
    """Return the Arrow schema of an Iceberg schema's files: 32-bit offsets, each column and each field with its id."""
    with_ids = schema_to_pyarrow(schema, include_field_ids=True)
    return pa.schema([_with_ids(small, f) for small, f in zip(arrow_schema_of(schema), with_ids, strict=True)])


def _with_ids(small: Any, field: Any) -> Any:
    """Return the field `small`, and the fields in it, with the ids of `field`."""
    of, ids = small.type, field.type
    if pa.types.is_struct(of):
        of = pa.struct([_with_ids(of.field(i), ids.field(i)) for i in range(of.num_fields)])
    elif pa.types.is_list(of):
        of = pa.list_(_with_ids(of.value_field, ids.value_field))
    elif pa.types.is_map(of):
        of = pa.map_(_with_ids(of.key_field, ids.key_field), _with_ids(of.item_field, ids.item_field))
    return pa.field(small.name, of, field.nullable, field.metadata)
