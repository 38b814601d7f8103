"""What tasks do with the compiled reader: lines out of objects, rows out of lines. It needs numba, `tasks` does not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dynalake.clients import Clients
from dynalake.convert.options import CompactOptions
from dynalake.convert.read.blocks import block_bytes, read_blocks
from dynalake.convert.read.parse import BlockReader, LineNumbers, Rows
from dynalake.convert.read.raw import RawObject
from dynalake.convert.read.records import Record, RecordParser, Rejected
from dynalake.convert.read.scan import PADDING
from dynalake.convert.rows.fit import LENGTH, fit, fits
from dynalake.convert.rows.minutes import minutes_of
from dynalake.convert.rows.write import RowBatches
from dynalake.lake.schema import TableSchema, merge_observed
from dynalake.names import TableNames
from dynalake.record.change import EVENT_TIME, SEQUENCE_NUMBER
from dynalake.spark.order import identities_of, places_of
from dynalake.spark.summary import Summary

_pa: Any = pa  # its stubs take types only as literals; here they are data
_pc: Any = pc  # its stubs do not know that text may be binary


def read_lines(
    clients: Clients,
    names: TableNames,
    objects: Sequence[RawObject],
    table: TableSchema,
    options: CompactOptions,
    sample_bytes: int,
    seen: Summary,
) -> Iterator[pa.Table]:
    """The records of the objects as `place, identity, event_time, line`, a block at a time; all else goes to `seen`.

    Raises `ConflictError`, `Undecided`.
    """
    rejected = Rejected(options.max_quarantined, seen.rejected)
    numbers = LineNumbers(objects, rejected)
    ordering = {*table.key.names, SEQUENCE_NUMBER, EVENT_TIME, *options.sort_by}
    reader = BlockReader(table, options.max_struct_fields, ordering)
    for block in read_blocks(clients, names, objects, lambda: len(reader.schema.columns)):
        parsed = reader.read(block.text)
        numbers.take(block, parsed)
        seen.read += parsed.read
        seen.canaries += parsed.canaries
        seen.minutes.update(*(minutes_of(rows.table) for rows in parsed.rows))
        if parsed.observed != seen.observed:
            seen.observed = merge_observed((seen.observed, parsed.observed), options.max_struct_fields)
        if parsed.rows:
            places = [_ordering(rows, options.sort_by) for rows in parsed.rows]
            lines, at = _in_order(places, parsed.rows)
            length = np.asarray(lines[LENGTH]).astype(np.int64)
            _sample(seen, lines["place"], length, sample_bytes)
            yield lines.drop_columns(LENGTH).append_column("line", _slice(block.text, at, length))
    numbers.sort()


def _ordering(rows: Rows, sort_by: Sequence[str]) -> pa.Table:
    identities = identities_of(rows.table, rows.schema)
    places = places_of(rows.table, rows.schema, sort_by, identities) if sort_by else identities
    columns = {"place": places, "identity": identities, "event_time": rows.table[EVENT_TIME]}
    return _pa.table({**columns, LENGTH: rows.table[LENGTH]})  # type: ignore[no-any-return]


def _sample(seen: Summary, places: Any, length: Any, sample_bytes: int) -> None:
    ends = seen.size + np.cumsum(length)
    chosen = np.flatnonzero(ends // sample_bytes != (ends - length) // sample_bytes)
    seen.samples += places.take(_pa.array(chosen)).to_pylist()
    seen.size = int(ends[-1])


def _slice(text: bytes, at: Any, length: Any) -> Any:
    """The lines at these places. The text is cut where they begin and end; of these pieces every other is a line."""
    bounds = np.empty(2 * len(at), np.int32)
    bounds[0::2], bounds[1::2] = at, at + length
    buffers = [None, _pa.py_buffer(bounds), _pa.py_buffer(text)]
    pieces = _pa.Array.from_buffers(pa.binary(), len(bounds) - 1, buffers)
    return pieces.take(_pa.array(np.arange(0, len(bounds), 2)))


def tables_of_lines(
    lines: Iterable[Any], read_as: TableSchema, schema: TableSchema, max_struct_fields: int
) -> Iterator[pa.Table]:
    """Rows of `schema`, with `LENGTH`, of records' lines in pieces of any size; in their order, a block at a time.

    `read_as`: types that hold all of these records. Where what is read under them cannot be made to fit the schema,
    which fields of maps that are never more than null bring about, the block is read exactly.
    """
    reader = BlockReader(read_as, max_struct_fields)
    batches, parse = RowBatches(schema), RecordParser(schema.key)
    for text in _texts(lines, block_bytes(len(read_as.columns))):
        parsed = reader.read(text)
        if all(fits(rows.schema, schema) for rows in parsed.rows):
            tables = [fit(rows.table, rows.schema, schema, everything=True) for rows in parsed.rows]
            yield _in_order(tables, parsed.rows)[0]
        else:
            yield batches.table(list(_records(parse, text)))


def _records(parse: RecordParser, text: bytes) -> Iterator[Record]:
    for line in text.rstrip(b"\n").split(b"\n"):
        record = parse(line)
        assert record is not None  # canaries are left out where objects are read
        yield record


def _texts(lines: Iterable[Any], size: int) -> Iterator[bytes]:
    held: list[Any] = []
    there = 0
    for piece in lines:
        joined = _pc.binary_join_element_wise(piece, b"", b"\n")
        held.append(memoryview(joined.buffers()[2])[: np.frombuffer(joined.buffers()[1], np.int32)[len(joined)]])
        there += len(held[-1])
        if there >= size:
            yield b"".join([*held, PADDING])
            held, there = [], 0
    if held:
        yield b"".join([*held, PADDING])


def _in_order(tables: Sequence[pa.Table], rows: Sequence[Rows]) -> tuple[pa.Table, Any]:
    """Tables of the same columns as one, in the order of the lines; and where these begin."""
    table, at = pa.concat_tables(tables).combine_chunks(), np.concatenate([some.at for some in rows])
    order = np.argsort(at, kind="stable")
    if (order[1:] < order[:-1]).any():
        table, at = table.take(_pa.array(order)), at[order]
    return table, at
