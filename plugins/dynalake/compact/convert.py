"""One partition from raw JSON to Parquet, complete and checked, and not yet published."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from dynalake.catalog.partitions import Partition, read_partition
from dynalake.catalog.tables import read_schema
from dynalake.clients import Clients
from dynalake.compact.look import look_back, looks_up_to_date, origin
from dynalake.compact.manifest import (
    ConvertedPartition,
    Manifest,
    Part,
    is_complete,
    read_manifest,
    widen_all,
    write_manifest,
)
from dynalake.compact.plan import inputs_digest, list_day
from dynalake.compact.repeats import Repeats
from dynalake.compact.restore import restore_raw
from dynalake.compact.supersede import note_version
from dynalake.convert.options import CompactOptions
from dynalake.convert.read.exact import Records, read_exactly
from dynalake.convert.read.raw import RawObject, list_objects
from dynalake.convert.read.records import Rejected, write_rejected
from dynalake.convert.rows.order import check_order, reorder
from dynalake.convert.rows.write import count_rows, write_parts
from dynalake.days import check_day
from dynalake.errors import LedgerError
from dynalake.lake.schema import TableSchema
from dynalake.names import TableNames


def compact_day(
    clients: Clients,
    names: TableNames,
    day: str,
    options: CompactOptions,
    beside: Iterable[str] = (),
    work_directory: Path | None = None,
    force: str = "",
) -> ConvertedPartition:
    """Convert one day (or `00000000`) as it lies in S3 now. Nothing that readers see changes.

    `beside`: manifests of conversions that will be published together with this one; its types are merged with theirs.
    A conversion of the same objects that is there already, and fits the types, is taken as it is, unless `force` is
    given: it becomes part of the version, so that files which somebody may be reading are never written over. Spills
    to `work_directory` (default: the system's temporary directory) and leaves nothing there.

    Raises `QuarantineError`, `LedgerError`, `ConflictError` (an object was replaced meanwhile).
    """
    shown = restore_raw(clients, names, check_day(day), work_directory)
    objects = list_day(clients, names, day)
    inputs = inputs_digest(objects)
    found = [read_manifest(clients, names, key) for key in beside]
    table = widen_all(read_schema(clients, names), found, options.max_struct_fields)
    done = None if force else find_conversion(clients, names, day, inputs, table, options, found)
    if done is not None:
        return done.converted(names, reused=True)
    arguments = clients, names, day, objects, inputs, shown, table, options, found, work_directory, force
    if sum(o.size for o in objects) >= options.compiled_from_mb << 20:
        from dynalake.convert.read.compiled import UNDECIDED, read_compiled

        try:
            return _convert(read_compiled, *arguments)
        except UNDECIDED:
            pass  # a case in which only the exact reader can tell what is right
    return _convert(read_exactly, *arguments)


def _convert(
    read: Callable[..., Records],
    clients: Clients,
    names: TableNames,
    day: str,
    objects: Sequence[RawObject],
    inputs: str,
    shown: Partition | None,
    table: TableSchema,
    options: CompactOptions,
    beside: Sequence[Manifest],
    work_directory: Path | None,
    force: str,
) -> ConvertedPartition:
    with TemporaryDirectory(prefix="dynalake-", dir=work_directory) as scratch:
        rejected = Rejected(options.max_quarantined)
        records = read(clients, names, objects, table, options, Path(scratch), rejected)
        quarantine = write_rejected(clients, names, day, inputs, rejected)
        wide = table.widen(records.observed, options.max_struct_fields)
        check_order(wide, options.sort_by)
        schema = wide.file_schema(records.observed)
        look = look_back(clients, names, day, records.minutes, beside)
        repeats = Repeats(clients, names, schema, look)
        version = version_digest(inputs, look.looked, schema, options, force)
        note_version(clients, names, day, version)
        parts = []
        rows = reorder(repeats.drop(records.tables(schema)), schema, options, Path(scratch))
        for path in write_parts(rows, schema, options, Path(scratch)):
            key = f"{names.parquet_version(day, version)}{path.name}"
            size = path.stat().st_size
            clients.s3.upload_file(str(path), names.lake.bucket, key)
            parts.append(Part(key, count_rows(clients, names.lake.bucket, key, size), size))
    manifest = Manifest(
        table=names.table,
        day=day,
        format=options.format,
        written=options.written,
        inputs=inputs,
        version=version,
        objects=len(objects),
        lines=records.read + len(rejected.entries),
        rows=sum(p.rows for p in parts),
        duplicates=records.duplicates,
        canaries=records.canaries,
        quarantined=len(rejected.entries),
        quarantine=quarantine,
        reasons=rejected.reasons,
        parts=tuple(parts),
        observed=records.observed,
        schema=schema,
        repeats=repeats.dropped,
        origin=origin(shown, inputs, names, day, objects),
        since=look.since,
        looked=look.looked,
    )
    check_ledger(manifest)
    write_manifest(clients, names, manifest)
    return manifest.converted(names)


def check_ledger(m: Manifest) -> None:
    """Raises `LedgerError` unless lines in = rows out + duplicates + repeats + canaries + quarantined."""
    out = m.rows + m.duplicates + m.repeats + m.canaries + m.quarantined
    if m.lines != out:
        raise LedgerError(
            f"Compaction of {m.table} {m.day}: {m.lines} lines in, but {m.rows} rows by the files' footers + "
            f"{m.duplicates} duplicates + {m.repeats} repeats of earlier days + {m.canaries} canaries + "
            f"{m.quarantined} quarantined = {out}",
            action="nothing was published; run it again, and report it if it stays",
            table=m.table,
            day=m.day,
        )


def version_digest(
    inputs: str, looked: Mapping[str, str], schema: TableSchema, options: CompactOptions, force: str = ""
) -> str:
    """The `v=` of a version's path: over everything that its bytes depend on."""
    text = json.dumps([inputs, sorted(looked.items()), schema.layout, options.written, force])
    return sha256(text.encode()).hexdigest()[:16]


def find_conversion(
    clients: Clients,
    names: TableNames,
    day: str,
    inputs: str,
    table: TableSchema,
    options: CompactOptions,
    beside: Sequence[Manifest] = (),
) -> Manifest | None:
    """A conversion of the same input, written alike and still in place, that the table's schema can read."""
    prefix = names.compaction_state(day) + inputs
    for found in list_objects(clients, names.lake.bucket, prefix):
        manifest = read_manifest(clients, names, found.key)
        if manifest.written != options.written or table.widen(manifest.observed).unreadable(manifest.schema):
            continue
        if not looks_up_to_date(clients, names, manifest, beside):
            continue
        shown = read_partition(clients, names, names.typed_table, day)
        if shown is None or shown.location != names.uri(names.parquet_version(day, manifest.version)):
            note_version(clients, names, day, manifest.version)  # its grace period begins anew
        if is_complete(clients, names, manifest):
            return manifest
    return None
