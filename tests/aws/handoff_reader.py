"""What a reader must find in the lake: at any moment while it changes, and for any moment afterwards."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import groupby
from random import Random
from typing import Any, NamedTuple

from dynalake.lake.columns.column import DELETED
from dynalake.lake.columns.schema import OTHER, TableSchema
from dynalake.record.change import OPERATION, SEQUENCE_NUMBER
from dynalake.record.key import ItemKey
from infra.local.demo.check import compare_items, lake_item, scan_table
from infra.local.demo.lake import LakeReader
from infra.local.demo.writing import KeyValues, key_values

_DECODER = json.JSONDecoder(parse_float=Decimal, parse_int=Decimal)


class Written(NamedTuple):
    """A change in the table's own stream. `time`: milliseconds; the images are attribute values."""

    number: str
    time: int
    key: KeyValues
    old: Mapping[str, Any] | None
    new: Mapping[str, Any] | None


@dataclass
class Watcher:
    """Queries both tables again and again. Raises `AssertionError` if they contradict each other or earlier rows."""

    reader: LakeReader
    looks: int = 0
    seen: set[tuple[Any, ...]] = field(default_factory=set)

    def look(self) -> None:
        now = self.reader.now()
        schema = now.schema
        changes = self.reader.rows(f"SELECT * FROM {now.changes}")
        shown = self.reader.rows(f"SELECT * FROM {now.current}")
        removed = self.reader.rows(f"SELECT * FROM {now.state} WHERE {DELETED}")
        self.looks += 1

        ids = Counter((row[SEQUENCE_NUMBER], row_key(schema, row)) for row in changes)
        assert set(ids.values()) <= {1}, f"changes that appear more than once: {ids - Counter(set(ids))}"
        assert self.seen <= ids.keys(), f"changes that have disappeared: {self.seen - ids.keys()}"
        self.seen = set(ids)

        newest: dict[KeyValues, dict[str, Any]] = {}
        for row in sorted(changes, key=lambda row: str(row[SEQUENCE_NUMBER])):
            newest[row_key(schema, row)] = row
        current = {row_key(schema, row): row[SEQUENCE_NUMBER] for row in shown}
        assert len(current) == len(shown), "an item is shown twice"
        # A late change reaches the state shortly before it reaches the changes, never the other way round.
        deleted = {row_key(schema, row): row[SEQUENCE_NUMBER] for row in removed}
        for key, row in newest.items():
            if key in current:
                assert current[key] >= row[SEQUENCE_NUMBER], f"{key} is shown as it was before {row}"
            elif row[OPERATION] != "REMOVE":
                assert deleted.get(key, "") > row[SEQUENCE_NUMBER], f"{key} is not shown, but {row} exists"


def row_key(schema: TableSchema, row: Mapping[str, Any]) -> KeyValues:
    """Return an item's key, whether its values fit their columns or not."""
    values = []
    for column in schema.key_columns:
        value = row.get(column.name)
        if value is None:
            value = _DECODER.decode(row[OTHER][column.attribute])
        values.append(Decimal(str(value)) if isinstance(value, int | float | Decimal) else value)
    return tuple(values)


def check_changes(reader: LakeReader, written: Sequence[Written]) -> None:
    """Check that `{t}` has every change of the stream once, and at most one snapshot of every item."""
    now = reader.now()
    rows = reader.rows(f"SELECT * FROM {now.changes}")
    changes = Counter(row[SEQUENCE_NUMBER] for row in rows if row[OPERATION] != "SNAPSHOT")
    expected = Counter(change.number for change in written)
    assert changes == expected, f"missing: {expected - changes}; repeated or unknown: {changes - expected}"
    snapshots = Counter(row_key(now.schema, row) for row in rows if row[OPERATION] == "SNAPSHOT")
    assert set(snapshots.values()) <= {1}, "an item is in the snapshot twice"


def check_current(reader: LakeReader) -> None:
    """Check that `{t}_current` equals the table, value by value."""
    comparison = reader.compare()
    assert comparison.same, comparison.text()


def check_history(
    reader: LakeReader, key: ItemKey, written: Sequence[Written], times: Sequence[range], random: Random, count: int
) -> None:
    """Check that `{t}_history` equals the table at random moments within these times (milliseconds)."""
    now, table = reader.now(), reader.table
    reader.rows(f"CREATE OR REPLACE TEMP TABLE history AS SELECT * FROM {now.history}")
    scanned = {key_values(key, item): item for item in scan_table(table.clients, table.names)}
    for _ in range(count):
        moment = random.choice(random.choice(times))
        items = [item for item in state_at(written, scanned, moment).values() if item is not None]
        rows = reader.rows(
            f"SELECT * FROM history WHERE __valid_from <= {moment} AND (__is_current OR {moment} < __valid_to)"
        )
        lake_items = [lake_item(now.schema, row) for row in rows]
        comparison = compare_items(table.names, table.names.history_view, now.schema, items, lake_items)
        assert comparison.same, f"at {moment}\n{comparison.text()}"


def state_at(
    written: Sequence[Written], scanned: Mapping[KeyValues, Mapping[str, Any]], moment: int
) -> dict[KeyValues, Mapping[str, Any] | None]:
    """Return each item at a moment, or None: by its changes, else as it was before them, or as in `scanned`.

    If the clock went back, a change counts from the latest time up to it, as in the view.
    """
    state: dict[KeyValues, Mapping[str, Any] | None] = dict(scanned)
    in_order = sorted(written, key=lambda change: (repr(change.key), change.number))
    for key, changes in groupby(in_order, key=lambda change: change.key):
        latest, first = 0, True
        for change in changes:
            if first:
                state[key], first = change.old, False
            latest = max(latest, change.time)
            if latest <= moment:
                state[key] = change.new
    return state
