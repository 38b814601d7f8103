"""The lake's versions of items, read as `{t}_current` reads them; and which of them it has shown since a moment.

The state has one version of an item, and `{t}` every later one. So for a moment in the last hours the lake itself says
what it showed then, however often the item has changed since.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute

from dynalake.backfill.export.numbers import Key, item_key
from dynalake.certify.canonical import digest
from dynalake.lake.catalog.iceberg import Head
from dynalake.lake.catalog.table import FOLDED_TO, Table, number, schema_of
from dynalake.lake.columns.column import KEY
from dynalake.lake.columns.retype import json_value, parse_json
from dynalake.lake.columns.schema import TableSchema
from dynalake.lake.current.fold import open_files
from dynalake.lake.current.key_ranges import KeyFile, Keys
from dynalake.lake.current.state import rows_between
from dynalake.lake.files.read import read_rows
from dynalake.lake.types.key_text import key_text
from dynalake.record.change import EVENT_TIME, OPERATION, OTHER, SEQUENCE_NUMBER, TYPES
from dynalake.record.item import AttributeValue, attribute_value
from dynalake.record.key import ItemKey
from dynalake.record.paths import path_step

_pa: Any = pa  # its stubs take types only as literals; here they are data
pc: Any = pyarrow.compute

SKEW_MS = 60_000
"""Milliseconds by which a change's time may differ from when DynamoDB showed it: the stream's times are approximate."""

_LAST = 2**63 - 1
_ROWS = 4096
"""Rows that are Python objects at once."""


@dataclass(frozen=True)
class ItemVersion:
    """An item after a change: `image` is its digest, None where the change removed it.

    `order`: versions of one item come in the order of this text. `time`: of the change, in milliseconds.
    """

    order: str
    time: int
    operation: str
    image: str | None


@dataclass(frozen=True)
class LakeItem:
    """A row of the lake: its item's key, the item in DynamoDB JSON, and the version."""

    key: Key
    item: Mapping[str, AttributeValue]
    version: ItemVersion


def newest(versions: Iterable[ItemVersion]) -> str | None:
    """Return the image that the lake shows now; None where it shows no item (pure)."""
    last = max(versions, key=lambda v: v.order, default=None)
    return None if last is None else last.image


def shown_since(versions: Sequence[ItemVersion], moment: int) -> frozenset[str | None]:
    """Return every image that the lake shows, or has shown, since `moment` in milliseconds (pure).

    These are the version of that moment, and all later ones. None stands for no item: before its first version, where
    that inserted it, and after its removal.
    """
    ordered = sorted(versions, key=lambda v: v.order)
    first = max((n for n, v in enumerate(ordered) if v.time <= moment), default=None)
    images = {v.image for v in ordered[first or 0 :]}
    if first is None and (not ordered or ordered[0].operation == "INSERT"):
        images.add(None)
    return frozenset(images)


def read_versions(table: Table, key: ItemKey, wanted: Iterable[Key] | None = None) -> Iterator[LakeItem]:
    """Yield the rows of the state that exist, and all changes after its bound; only of the `wanted` items if given.

    Holds a part of a row group in memory. Raises `CatalogError` where the tables are missing or damaged.
    """
    # A change that is folded in between is in the changes all the same. One that comes late is seen by the next call.
    state = table.items()
    changes = table.changes()
    folded_to = number(state, FOLDED_TO)
    keys = None if wanted is None else _Wanted.of(schema_of(state), key, wanted)
    for rows in _state_rows(state, keys):
        yield from lake_items(rows, schema_of(state), key, after_state=False)
    later = open_files(changes, folded_to, table.names.lake)
    for rows in rows_between(changes, later, folded_to, _LAST):
        yield from lake_items(rows if keys is None else keys.rows(rows), schema_of(changes), key, after_state=True)


def lake_items(rows: pa.Table, schema: TableSchema, key: ItemKey, *, after_state: bool) -> Iterator[LakeItem]:
    """Yield the items of rows that have a schema's columns.

    A change `after_state`, behind its bound, counts against the row of the state, whatever the numbers of both are: as
    in `{t}_current`.
    """
    for start in range(0, rows.num_rows, _ROWS):
        yield from _lake_items(rows.slice(start, _ROWS), schema, key, "1" if after_state else "0")


def _lake_items(rows: pa.Table, schema: TableSchema, key: ItemKey, place: str) -> Iterator[LakeItem]:
    columns = [
        (c.attribute, path_step(c.attribute), json_value(c.type), rows[c.name].to_pylist())
        for c in schema.columns
        if c.name in rows.column_names
    ]
    own = zip(*(rows[n].to_pylist() for n in (OTHER, TYPES, OPERATION, SEQUENCE_NUMBER, EVENT_TIME)), strict=True)
    for n, (other, types_text, operation, sequence, time) in enumerate(own):
        types: dict[str, str] = json.loads(types_text) if types_text else {}
        item = {
            name: attribute_value(restore(value), step, types)
            for name, step, restore, values in columns
            if (value := values[n]) is not None
        }
        for name, text in other or ():
            item[name] = attribute_value(parse_json(text), path_step(name), types)
        image = None if operation == "REMOVE" else digest(item)
        yield LakeItem(item_key(key, item), item, ItemVersion(f"{place}{sequence}", time, operation, image))


@dataclass(frozen=True)
class _Wanted:
    """The wanted items, by the columns that tell items apart."""

    keys: Keys

    @classmethod
    def of(cls, schema: TableSchema, key: ItemKey, wanted: Iterable[Key]) -> _Wanted:
        kinds = [a.type for a in key.attributes]
        texts = sorted({_identity(schema.identity, kinds, parts) for parts in wanted})
        columns = zip(*texts, strict=True) if texts else [()] * len(schema.identity)
        arrays = [_pa.array(list(column), pa.string()) for column in columns]
        return cls(Keys(_pa.table(arrays, names=list(schema.identity)), schema.identity))

    def rows(self, rows: pa.Table) -> pa.Table:
        return rows.filter(pc.is_valid(self.keys.places(rows)))


def _identity(columns: Sequence[str], kinds: Sequence[str], parts: Key) -> tuple[str, ...]:
    if columns != (KEY,):
        return parts
    return (key_text([Decimal(p) if kind == "N" else p for kind, p in zip(kinds, parts, strict=True)]),)


def _state_rows(state: Head, wanted: _Wanted | None) -> Iterator[pa.Table]:
    files = state.files({False})
    if wanted is None:
        yield from read_rows(state, files)
        return
    keys = wanted.keys
    if not len(keys):
        return
    (low, *_), (high, *_) = keys.box
    chosen = [f for f in files if keys.may_be_in(KeyFile.of(f, keys.identity))]
    for rows in read_rows(state, chosen, within={keys.identity[0]: (low, high)}):
        yield wanted.rows(rows)
