"""Rows into Parquet (or ORC) parts of bounded size, the same bytes for the same rows; and row counts read back."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dynalake.clients import Clients
from dynalake.convert.options import CompactOptions
from dynalake.convert.read.records import Record
from dynalake.convert.rows.fit import LENGTH
from dynalake.lake.arrow import arrow_schema, converter
from dynalake.lake.schema import METADATA_TYPES, TableSchema
from dynalake.record.change import EVENT_TIME, SEQUENCE_NUMBER

_MB = 1 << 20
_BATCH = 4 << 20  # bytes of lines whose records are held at once
_LEVEL = 2  # of zstd: what the levels above save is not worth their time
_DIGITS = (SEQUENCE_NUMBER, EVENT_TIME)  # at level 1: the longer search finds what is alike in them by chance
_DICTIONARY = 1 << 20  # bytes
_WORTH = 0.5  # a column has a dictionary where that takes less than this part of the values themselves
_SOME = 1 << 14
_RARELY = 0.95
"""Of `_SOME` values so many differ where there are 150,000 different ones or more: too many for a dictionary."""


class RowBatches:
    """Turns records into Arrow tables of one schema."""

    def __init__(self, schema: TableSchema) -> None:
        self.schema = arrow_schema(schema)
        columns = [(name, kind) for name, kind in METADATA_TYPES.items()] + [(c.key, c.type) for c in schema.columns]
        self._columns: list[tuple[str, Callable[[Any], Any]]] = [(key, converter(kind)) for key, kind in columns]

    def table(self, records: list[Record]) -> pa.Table:
        """One row per record, in their order, with `LENGTH`."""
        arrays = [
            pa.array([convert(r.values.get(key)) for r in records], type=field.type)
            for (key, convert), field in zip(self._columns, self.schema, strict=True)
        ]
        table = pa.Table.from_arrays(arrays, schema=self.schema)
        return table.append_column(LENGTH, pa.array([len(r.line) for r in records], pa.int32()))


def write_parts(
    tables: Iterable[pa.Table], schema: TableSchema, options: CompactOptions, directory: Path
) -> Iterator[Path]:
    """`write_groups` of rows in tables of any size, with `LENGTH`."""
    return write_groups(group_tables(tables, schema, options), schema, options, directory)


def write_groups(
    groups: Iterable[pa.Table], schema: TableSchema, options: CompactOptions, directory: Path
) -> Iterator[Path]:
    """Parts of about `part_mb`, each complete when it is yielded, and removed when the next is asked for.

    `groups` become row groups. Always at least one part, if only with no rows: an engine may refuse a partition
    without a file.
    """
    arrow = arrow_schema(schema)
    with ThreadPoolExecutor(1) as pool:
        # The next group is made while one is written.
        pending = iter(groups)
        group: pa.Table | None = next(pending, arrow.empty_table())
        following = pool.submit(next, pending, None)
        assert group is not None
        columns = group.column_names if options.format == "parquet" else ()
        repeats = {
            path: _repeats(values) for name in columns for path, values in _leaves(name, group[name].combine_chunks())
        }
        # A page is not cut within so many rows, and an item may have 400 KB.
        rows = min(1024, max(16, group.num_rows // options.row_group_mb))
        number = 0
        while group is not None:
            path = directory / f"part-{number:05d}.{options.format}"
            with _open(path, arrow, options, repeats, rows) as writer:
                while group is not None and path.stat().st_size < options.part_mb * _MB:
                    writer.write(group)
                    group = following.result()
                    following = pool.submit(next, pending, None)
            yield path
            path.unlink()
            number += 1


def tables_of(records: Iterable[Record], schema: TableSchema) -> Iterator[pa.Table]:
    """Records as tables of bounded size, with `LENGTH`."""
    batches = RowBatches(schema)
    held: list[Record] = []
    size = 0
    for record in records:
        held.append(record)
        size += len(record.line) + _per_row(schema)
        if size >= _BATCH:
            yield batches.table(held)
            held, size = [], 0
    if held:
        yield batches.table(held)


def group_tables(tables: Iterable[pa.Table], schema: TableSchema, options: CompactOptions) -> Iterator[pa.Table]:
    """Rows in tables of any size, with `LENGTH`, as tables of which each becomes a row group."""
    limit, per_row = options.row_group_mb * _MB, _per_row(schema)
    arrow = arrow_schema(schema)
    held: list[pa.Table] = []
    size = 0
    for table in tables:
        sizes = np.cumsum(np.asarray(table[LENGTH]).astype(np.int64) + per_row)
        table = table.select(arrow.names)
        start, before = 0, 0
        while start < len(sizes):
            end = int(np.searchsorted(sizes, limit - size + before)) + 1
            held.append(table.slice(start, end - start))
            if end > len(sizes):
                size += int(sizes[-1]) - before
                break
            yield _together(held, arrow)
            size, start, before = 0, end, int(sizes[end - 1])
    if held:
        yield _together(held, arrow)


def _together(tables: list[pa.Table], schema: pa.Schema) -> pa.Table:
    """One table of these, which are taken out of the list: a column at a time, so that no row is there twice."""
    columns: list[Any] = list(pa.concat_tables(tables).columns)
    tables.clear()
    for i, column in enumerate(columns):
        columns[i] = column.combine_chunks()
    return pa.table(columns, names=schema.names).cast(schema)


def _per_row(schema: TableSchema) -> int:
    """What a row weighs beside its line: with many columns, nulls cost memory too."""
    return 8 * len(schema.columns)


def _leaves(path: str, values: Any) -> Iterator[tuple[str, Any]]:
    """The columns that Parquet makes of one, with their paths."""
    match values:
        case pa.StructArray():
            for field, child in zip(values.type, values.flatten(), strict=True):
                yield from _leaves(f"{path}.{field.name}", child)
        case pa.MapArray():
            start, end = values.offsets[0].as_py(), values.offsets[-1].as_py()
            yield from _leaves(f"{path}.key_value.key", values.keys[start:end])
            yield from _leaves(f"{path}.key_value.value", values.items[start:end])
        case pa.ListArray():
            yield from _leaves(f"{path}.list.element", values.flatten())
        case _:
            yield path, values


def _repeats(values: Any) -> bool:
    """Whether values repeat so that a column of them is smaller with a dictionary.

    Without being told, the writer begins a dictionary for every column and goes on without one when it is too large.
    Nothing counts here but the values, so that either reader's rows give the same bytes.
    """
    if pa.types.is_boolean(values.type):
        return False
    values = values.drop_null()
    count = len(values)
    if count > _SOME:
        some = values[:: count // _SOME]
        if pc.count_distinct(some).as_py() > len(some) * _RARELY:
            return False
    different: int = pc.count_distinct(values).as_py()
    if pa.types.is_string(values.type):
        plain = 4 * count + (pc.sum(pc.binary_length(values)).as_py() or 0)
    else:
        plain = values.type.bit_width // 8 * count
    entries = different * plain / max(1, count)
    return bool(entries < _DICTIONARY and entries + count * different.bit_length() / 8 < plain * _WORTH)


def _open(path: Path, schema: pa.Schema, options: CompactOptions, repeats: Mapping[str, bool], rows: int) -> Any:
    """`repeats`: of each leaf."""
    if options.format == "orc":
        from pyarrow import orc

        codec: Any = {"gzip": "ZLIB"}.get(options.codec, options.codec.upper())
        return orc.ORCWriter(str(path), compression=codec)
    compression: Any = options.codec
    levels: Any = {leaf: 1 if leaf in _DIGITS else _LEVEL for leaf in repeats}
    return pq.ParquetWriter(
        path,
        schema,
        version="2.6",
        compression=compression,
        compression_level=levels if options.codec == "zstd" else None,
        use_dictionary=[leaf for leaf, does in repeats.items() if does],  # type: ignore[arg-type]
        dictionary_pagesize_limit=_DICTIONARY,
        write_batch_size=rows,
        store_schema=False,
        write_statistics=True,
    )


def count_rows(clients: Clients, bucket: str, key: str, size: int) -> int:
    """The rows of a part in S3, from its footer."""
    tail = S3File(clients, bucket, key, size)
    if key.endswith(".orc"):
        from pyarrow import orc

        return int(orc.ORCFile(pa.PythonFile(tail, mode="r")).nrows)
    return int(pq.read_metadata(pa.PythonFile(tail, mode="r")).num_rows)


class S3File(io.RawIOBase):
    """An S3 object as a file that reads only the ranges it is asked for."""

    def __init__(self, clients: Clients, bucket: str, key: str, size: int) -> None:
        super().__init__()
        self._clients, self._bucket, self._key, self._size = clients, bucket, key, size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = start + offset
        return self._at

    def read(self, size: int = -1) -> bytes:
        end = self._size if size < 0 else min(self._at + size, self._size)
        if end <= self._at:
            return b""
        span = f"bytes={self._at}-{end - 1}"
        with self._clients.s3.get_object(Bucket=self._bucket, Key=self._key, Range=span)["Body"] as body:
            read = body.read()
        self._at += len(read)
        return read
