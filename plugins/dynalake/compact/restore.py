"""Raw objects that the retention has deleted, or somebody else all of, written again from the Parquet.

For whoever has to read them: a widened type needs the day converted again, and while types change the views read it
from JSON. Every value comes back exactly; an attribute that was null is missing then, which SQL does not tell apart.
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from dynalake.catalog.lease import Lease, changing
from dynalake.catalog.partitions import Partition, change_parameters, read_partition
from dynalake.clients import Clients
from dynalake.compact.manifest import read_manifest
from dynalake.compact.plan import MANIFEST, OBJECTS, RAW_DELETED, list_day
from dynalake.convert.rows.write import S3File
from dynalake.days import SNAPSHOT_DAY
from dynalake.lake.arrow import json_text
from dynalake.lake.schema import METADATA_TYPES, TableSchema
from dynalake.lake.types import MIXED, List, Map, Mixed, Number, Struct, Type
from dynalake.names import TableNames
from dynalake.record.change import TYPES

_ROWS = 10_000


def restore_raw(clients: Clients, names: TableNames, day: str, work_directory: Path | None = None) -> Partition | None:
    """Write the day's raw objects again where they are deleted. Returns the day as it is published."""
    found = read_partition(clients, names, names.typed_table, day)
    if _is_deleted(clients, names, found):
        with changing(clients, names) as lease:
            restore_day(clients, names, day, lease, work_directory)
    return found


def restore_day(
    clients: Clients, names: TableNames, day: str, lease: Lease, work_directory: Path | None = None
) -> bool:
    """The same for whoever holds the lease. Again, or after a kill: the same objects are written."""
    found = read_partition(clients, names, names.typed_table, day)
    if found is None or not _is_deleted(clients, names, found):
        return False
    if RAW_DELETED not in found.parameters:
        # Before anything is written: after a kill, a part of the objects must not be taken for all of them.
        note = names.raw_deleted_note(day)
        clients.s3.put_object(Bucket=names.lake.bucket, Key=note, Body=b"[]")
        change_parameters(clients, names, day, {RAW_DELETED: note})
    manifest = read_manifest(clients, names, found.parameters[MANIFEST])
    with TemporaryDirectory(prefix="dynalake-", dir=work_directory) as scratch:
        for number, part in enumerate(manifest.parts):
            path = Path(scratch) / "raw.gz"
            file = S3File(clients, names.lake.bucket, part.key, part.size)
            with path.open("wb") as out, gzip.GzipFile("", "wb", 1, out, 0) as lines:
                for batch in _batches(file, manifest.format):
                    lines.writelines(to_lines(batch, manifest.schema))
                    lease.check()
            key = f"{names.restored(day, manifest.version)}{number:05d}.gz"
            clients.s3.upload_file(str(path), names.lake.bucket, key)
            lease.check()
    change_parameters(clients, names, day, {RAW_DELETED: None})
    return True


def _is_deleted(clients: Clients, names: TableNames, shown: Partition | None) -> bool:
    """By the retention, which says so; or by a lifecycle rule or by hand: nothing is left that it was made from."""
    if shown is None or MANIFEST not in shown.parameters:
        return False
    if RAW_DELETED in shown.parameters:
        return True
    made_of_some = shown.day != SNAPSHOT_DAY and shown.parameters.get(OBJECTS, "0") != "0"
    return made_of_some and not list_day(clients, names, shown.day)


def to_lines(batch: pa.Table, schema: TableSchema) -> Iterator[bytes]:
    """The change record of each row, as a line of JSON."""
    # The text of `__types` is that of an object.
    columns = [(name, name, MIXED if name == TYPES else kind) for name, kind in METADATA_TYPES.items()]
    columns += [(c.name, c.key, c.type) for c in schema.columns]
    there = set(batch.column_names)
    readers = [(name, key, reader(kind)) for name, key, kind in columns if name in there]
    for row in batch.to_pylist():
        record = {key: read(row[name]) for name, key, read in readers if row[name] is not None}
        yield f"{json_text(record)}\n".encode()


def reader(of: Type) -> Callable[[Any], Any]:
    """A function from what Arrow gives of a column of type `of` to the JSON value that it was; nulls are left out."""
    match of:
        case Number():
            return lambda value: _number(repr(value) if isinstance(value, float) else value)
        case Mixed():
            return lambda text: json.loads(text, parse_float=Decimal)
        case Struct(fields) if fields:
            parts = [(f.key, f.name, reader(f.type)) for f in fields]
            return lambda value: {key: read(value[name]) for key, name, read in parts if value.get(name) is not None}
        case Struct():
            return dict
        case Map(inner):
            read_value = reader(inner)
            # Unlike a struct's field, a key of a map that has null is there.
            return lambda pairs: {key: None if value is None else read_value(value) for key, value in pairs}
        case List(element):
            read_element = reader(element)
            return lambda values: [None if value is None else read_element(value) for value in values]
        case _:
            return lambda value: value


def _number(value: int | str | Decimal) -> int | Decimal:
    """With its own digits: a decimal column pads every value with zeros to its scale."""
    if isinstance(value, Decimal):
        digits = f"{value:f}"
        return Decimal(digits.rstrip("0").rstrip(".") if "." in digits else digits)
    return Decimal(value) if isinstance(value, str) else value


def _batches(file: io.RawIOBase, file_format: str) -> Iterator[pa.Table]:
    if file_format == "orc":
        from pyarrow import orc

        stripes = orc.ORCFile(pa.PythonFile(file, mode="r"))
        for number in range(stripes.nstripes):
            yield pa.Table.from_batches([stripes.read_stripe(number)])
        return
    import pyarrow.parquet as pq

    for batch in pq.ParquetFile(pa.PythonFile(file, mode="r")).iter_batches(_ROWS):
        yield pa.Table.from_batches([batch])
