"""One table on local AWS, filled by the product's own conversions, folds and snapshots, and read by an engine."""

from __future__ import annotations

import gzip
import json
import uuid
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from dynalake.aws.clients import Clients
from dynalake.convert.batch import convert_batch
from dynalake.convert.finish import finish_table
from dynalake.convert.plan import ConvertLimits, plan_table
from dynalake.lake.catalog.table import Table, schema_of
from dynalake.lake.columns.schema import TableSchema
from dynalake.lake.current.fold import fold
from dynalake.lake.current.key_ranges import Sizes
from dynalake.lake.current.state import SIZES
from dynalake.lake.current.view_entries import write_views
from dynalake.lake.tables.make import make_tables
from dynalake.lake.types.arrow import json_text
from dynalake.names import Lake, TableNames
from dynalake.record.key import ItemKey, KeyAttribute
from infra.local.engines.trino import Trino

DAY_MS = 86_400_000


class Event(NamedTuple):
    """A change as in a record: `item` has plain values, including the key's."""

    sequence: int
    time: int
    operation: str
    item: dict[str, Any]

    def line(self) -> str:
        metadata = {
            "__operation": self.operation,
            "__sequence_number": f"{self.sequence:040d}",
            "__event_time": self.time,
        }
        return json_text({**metadata, **self.item})


def new_lake(clients: Clients, environment: str) -> Lake:
    """Make a lake's bucket and database."""
    lake = Lake(environment, "000000000000", "us-east-1")
    clients.s3.create_bucket(Bucket=lake.bucket)
    clients.glue.create_database(DatabaseInput={"Name": lake.database})
    return lake


class ViewLake:
    """The table RECEIPTS in its own lake, or these `names`."""

    def __init__(self, clients: Clients, trino: Trino, key: ItemKey, names: TableNames | None = None) -> None:
        self.names = names or new_lake(clients, f"v{uuid.uuid4().hex[:12]}").table("RECEIPTS")
        self.clients, self.trino, self.key = clients, trino, key
        self.table = Table(clients, self.names)
        self.now = datetime.now(UTC)
        self.start = int(self.now.timestamp()) * 1000 // DAY_MS * DAY_MS - 5 * DAY_MS
        make_tables(self.table, key, f"arn:aws:dynamodb:us-east-1:000000000000:table/{self.names.table}")

    def day(self, time: int) -> str:
        return self.names.lake.day_of(datetime.fromtimestamp(time / 1000, UTC))

    def put(self, events: Iterable[Event], day: str = "") -> None:
        """Put changes as raw objects on the days when they were made, or on another one."""
        lines: dict[str, list[str]] = {}
        for event in events:
            lines.setdefault(day or self.day(event.time), []).append(event.line())
        for of, texts in lines.items():
            key = f"{self.names.raw_day(of)}{uuid.uuid4().hex}.gz"
            body = gzip.compress("".join(f"{line}\n" for line in texts).encode())
            self.clients.s3.put_object(Bucket=self.names.lake.bucket, Key=key, Body=body)

    def convert(self, days: Collection[str] = ()) -> None:
        """Run the conversion once, `days` again; afterwards the views match the tables."""
        limits = ConvertLimits()
        plan = plan_table(self.table, limits, self.now, days)
        results = {batch.number: convert_batch(self.table, batch) for batch in plan.batches}
        if results:
            outcome = finish_table(self.table, plan.batches[0].plan, results, limits, lambda: self.now)
            assert not outcome.waiting, outcome.waiting
        write_views(self.table)

    def fold(self, bound: int, sizes: Sizes = SIZES) -> None:
        fold(self.table, bound, sizes=sizes)

    # -- read by an engine -----------------------------------------------------------------------------------------

    def name(self, table: str) -> str:
        return f'"{self.names.lake.database}"."{table}"'

    def changes(self) -> list[dict[str, Any]]:
        """Return every change, as Trino reads it."""
        return self.trino(f"SELECT * FROM {self.name(self.names.changes_table)}")

    def current(self) -> list[dict[str, Any]]:
        return self.trino(f"SELECT * FROM {self.name(self.names.current_view)}")

    def removed(self) -> list[dict[str, Any]]:
        return self.trino(f"SELECT * FROM {self.name(self.names.removed_view)}")

    def history(self) -> list[dict[str, Any]]:
        return self.trino(f"SELECT * FROM {self.name(self.names.history_view)}")

    def identity(self, row: dict[str, Any]) -> tuple[str, ...]:
        """Return an item's key, whether its values fit their columns or not."""
        rest = row["__other"] or {}
        parts = []
        for name in self.key.names:
            column = row.get(self.column(name))
            parts.append(rest[name] if column is None else column)
        return tuple(_plain(part) for part in parts)

    def column(self, attribute: str) -> str:
        column = self.schema().column(attribute)
        return attribute if column is None else column.name

    def schema(self) -> TableSchema:
        return schema_of(self.table.changes())


def _plain(part: Any) -> str:
    """Return a key's part by its value: `1`, `1.0` and `"1"` of `__other` are one number."""
    if isinstance(part, str):
        try:
            part = json.loads(part, parse_float=Decimal, parse_int=Decimal)
        except ValueError:
            return str(part)
    return str(Decimal(str(part)).normalize()) if isinstance(part, int | float | Decimal) else str(part)


def newest(rows: Iterable[dict[str, Any]], lake: ViewLake) -> dict[tuple[str, ...], dict[str, Any]]:
    """Return the newest change of each item that is not removed."""
    newest_rows: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in rows:
        key = lake.identity(row)
        if key not in newest_rows or row["__sequence_number"] > newest_rows[key]["__sequence_number"]:
            newest_rows[key] = row
    return {key: row for key, row in newest_rows.items() if row["__operation"] != "REMOVE"}


def by_key(rows: Iterable[dict[str, Any]], lake: ViewLake) -> dict[tuple[str, ...], dict[str, Any]]:
    """Return the rows of a view by item, one for each."""
    rows_by_key: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in rows:
        key = lake.identity(row)
        assert key not in rows_by_key, key
        rows_by_key[key] = row
    return rows_by_key


def differences(shown: dict[Any, dict[str, Any]], expected: dict[Any, dict[str, Any]]) -> Iterator[str]:
    """Return the differences between a view and the changes, column by column."""
    for key in shown.keys() ^ expected.keys():
        yield f"{key} is {'shown' if key in shown else 'not shown'}"
    for key in shown.keys() & expected.keys():
        for name, value in shown[key].items():
            if name in expected[key] and value != expected[key][name]:
                yield f"{key} has {name} {value!r}, and not {expected[key][name]!r}"


BY_BOTH = ItemKey(KeyAttribute("PK", "S"), KeyAttribute("at", "N"))
BY_ID = ItemKey(KeyAttribute("id", "S"))


def check(lake: ViewLake) -> None:
    """Check that all three views match the changes."""
    changes = lake.changes()
    shown = by_key(lake.current(), lake)
    assert list(differences(shown, newest(changes, lake))) == []
    images = [row for row in changes if row["__operation"] != "REMOVE"]
    history = lake.history()
    assert len(history) == len(images)
    present = by_key([row for row in history if row["__is_current"]], lake)
    assert list(differences(present, newest(changes, lake))) == []
