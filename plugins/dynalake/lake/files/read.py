"""Rows of data files as a table's schema has them, in bounded memory: a row group, or a part of one, at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import pyarrow_to_schema, schema_to_pyarrow
from pyiceberg.manifest import DataFile as IcebergFile
from pyiceberg.manifest import DataFileContent, FileFormat
from pyiceberg.schema import Schema

from dynalake.errors import CatalogError
from dynalake.lake.catalog.iceberg import DataFile, Head
from dynalake.lake.files.project import project

_AT_ONCE = 32 << 20
"""Uncompressed bytes of a row group that are decoded at once: others write groups of any size."""

Within = Mapping[str, tuple[Any, Any]]
"""Column → the least and the greatest value that is wanted; None where there is no such end."""


def read_rows(
    head: Head,
    files: Iterable[DataFile],
    columns: Collection[str] | None = None,
    *,
    schema: Schema | None = None,
    within: Within | None = None,
) -> Iterator[pa.Table]:
    """Yield the rows of the files, by row group or in smaller tables, without those that delete files remove.

    Columns, and fields of structs, are found by their ids, so a column that has another type since then is null.
    `schema` (default: the head's) gives the rows' form; `columns` of it are read, all by default. Row groups that can
    have no value `within` are left out; their rows are not filtered further.

    The files need not be part of the head. Raises `CatalogError` for equality deletes, which name rows by value.
    """
    target = schema or head.schema
    if columns is not None:
        target = target.select(*columns)
    deletes = _Deletes(head)
    for file in files:
        if file.rows:
            yield from _read_file(head, file, target, within or {}, deletes.of(file))


def _read_file(head: Head, file: DataFile, wanted: Schema, within: Within, deleted: Any) -> Iterator[pa.Table]:
    target = arrow_schema_of(wanted)
    with head.open(file) as stream, pq.ParquetFile(stream, pre_buffer=True) as parquet:
        physical = parquet.schema_arrow
        held = pyarrow_to_schema(physical)
        ids = {f.field_id for f in wanted.fields}
        names = [f.name for f in held.fields if f.field_id in ids]
        partition = head.iceberg.spec().fields[0].source_id
        missing = {} if partition in held.field_ids else {partition: file.partition}
        first = 0
        for number in range(parquet.num_row_groups):
            group = parquet.metadata.row_group(number)
            first, start = first + group.num_rows, first
            if not group.num_rows or not _may_hold(group, within):
                continue
            # The partition's value replaces a column that others have left out of their files.
            for batch in _batches(parquet, number, names):
                rows = project(batch, held, wanted, target, missing)
                start, end = start + batch.num_rows, start
                if deleted is not None:
                    gone = deleted[(deleted >= end) & (deleted < start)] - end
                    rows = rows.take(pa.array(np.setdiff1d(np.arange(batch.num_rows), gone)))
                yield rows


def _batches(parquet: Any, number: int, names: list[str]) -> Iterator[pa.RecordBatch]:
    """Yield a row group's rows: all at once where they are few bytes, else in batches."""
    group = parquet.metadata.row_group(number)
    if not names:
        nothing: Any = pa.array([{}] * group.num_rows, pa.struct([]))
        yield pa.RecordBatch.from_struct_array(nothing)
        return
    pieces = 1 + group.total_byte_size // _AT_ONCE
    for batch in parquet.iter_batches(-(-group.num_rows // pieces), row_groups=[number], columns=names):
        yield batch.select(names)


def arrow_schema_of(schema: Schema) -> pa.Schema:
    """Return the Arrow schema for rows of an Iceberg schema: 32-bit offsets, no field ids."""
    return pa.schema([pa.field(f.name, _small(f.type)) for f in schema_to_pyarrow(schema, include_field_ids=False)])


def _small(of: Any) -> Any:
    """Return the type with 32-bit offsets: pyiceberg gives texts and lists 64 bits."""
    if pa.types.is_large_string(of):
        return pa.string()
    if pa.types.is_large_list(of) or pa.types.is_list(of):
        return pa.list_(pa.field(of.value_field.name, _small(of.value_type)))
    if pa.types.is_map(of):
        return pa.map_(_small(of.key_type), pa.field("value", _small(of.item_type)))
    if pa.types.is_struct(of):
        return pa.struct([pa.field(of.field(i).name, _small(of.field(i).type)) for i in range(of.num_fields)])
    return of


def _may_hold(group: Any, within: Within) -> bool:
    if not within:
        return True
    for place in range(group.num_columns):
        column = group.column(place)
        if column.path_in_schema not in within or column.statistics is None or not column.statistics.has_min_max:
            continue
        low, high = within[column.path_in_schema]
        if (low is not None and column.statistics.max < low) or (high is not None and high < column.statistics.min):
            return False
    return True


def count_deleted(head: Head) -> dict[str, int]:
    """Return how many rows of each data file are removed by delete files of another engine.

    The files need no longer be live. Raises `CatalogError` for equality deletes, as `read_rows` does.
    """
    return {path: len(places) for path, places in _Deletes(head).all().items()}


class _Deletes:
    """The places of rows that delete files remove, by data file; read at the first request."""

    def __init__(self, head: Head) -> None:
        self._head = head
        self._places: dict[str, Any] | None = None

    def of(self, file: DataFile) -> Any:
        """Return places in the file, or None."""
        return self.all().get(file.path)

    def all(self) -> dict[str, Any]:
        """Return places by the paths of files, in order, each once."""
        if self._places is None:
            self._places = {path: np.unique(np.concatenate(places)) for path, places in self._read().items()}
        return self._places

    def _read(self) -> dict[str, list[Any]]:
        places: dict[str, list[Any]] = {}
        for delete in self._head.delete_files():
            if delete.content != DataFileContent.POSITION_DELETES:
                raise CatalogError(
                    f"The table {self._head.name} has equality deletes, written by another engine",
                    allowed="no deletes, or deletes by position",
                    action="rewrite its data files with that engine (for Spark: rewrite_data_files with "
                    "delete-file-threshold 1)",
                    table=self._head.name,
                )
            for path, rows in _read_places(self._head, delete):
                places.setdefault(path, []).append(rows)
        return places


def _read_places(head: Head, delete: IcebergFile) -> Iterator[tuple[str, Any]]:
    """Yield paths of data files, and places of rows in them that a delete file removes; a path more than once.

    pyiceberg is not used, since it asks Arrow for the paths as a dictionary: Arrow cannot decode them as one where they
    are written as `DELTA_LENGTH_BYTE_ARRAY`, as Trino and Athena write the path of a single row.
    """
    if delete.file_format != FileFormat.PARQUET:
        raise CatalogError(
            f"The table {head.name} has deletes in {delete.file_format}, written by another engine",
            allowed="no deletes, or deletes by position in Parquet",
            action="rewrite its data files with that engine (for Spark: rewrite_data_files with "
            "delete-file-threshold 1)",
            table=head.name,
        )
    file: Any = head.iceberg.io.new_input(delete.file_path)
    with file.open() as stream, pq.ParquetFile(stream) as parquet:
        for batch in parquet.iter_batches(columns=["file_path", "pos"]):
            paths: Any = batch.column("file_path").dictionary_encode()
            numbers, places = np.asarray(paths.indices), np.asarray(batch.column("pos"))
            for number, path in enumerate(paths.dictionary.to_pylist()):
                yield path, places[numbers == number]
