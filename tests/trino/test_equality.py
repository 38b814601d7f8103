"""The lake equals DynamoDB, value by value, throughout its life; with the DAGs, in each engine."""

from __future__ import annotations

import random
from datetime import UTC, datetime

from dynalake.aws.clients import Clients
from dynalake.lake.catalog.table import schema_of
from dynalake.lake.columns.column import Column
from dynalake.record.key import ItemKey, KeyAttribute
from infra.local.engines.trino import Trino
from tests.trino.hostile_items import BINARY_KEYS, DECIMAL_KEYS, PHASES, every_value, hostile_item
from tests.trino.lake_life import LakeTable, Life, Run
from tests.trino.readers import ReadTable
from tests.trino.source_table import Change, Item

DAY_MS = 86_400_000
BY_DECIMAL = ItemKey(KeyAttribute("userId", "S"), KeyAttribute("at.Time", "N"))
BY_BINARY = ItemKey(KeyAttribute("Bin", "B"), KeyAttribute("sort key", "B"))


class Writer:
    """Writes to a source, phase by phase; changes that a later one replaces may land later."""

    def __init__(self, order: random.Random, table: LakeTable, keys: list[Item]) -> None:
        self.order, self.table, self.source, self.keys = order, table, table.source, keys
        self.held: list[Change] = []

    def write(self, phase: int, since: int, until: int, count: int) -> list[Change]:
        """Write between two times (milliseconds); return the changes that land now."""
        changes = []
        for place in range(count):
            time = since + (until - since) * place // count
            key = self.order.choice(self.keys)
            if self.order.random() < 0.25:
                change = self.source.remove(key, time, expired=self.order.random() < 0.5)
            else:
                item = hostile_item(self.order, key, phase)
                if self.order.random() < 0.2:
                    item["updatedAt"] = {"N": str(time // 1000)}
                change = self.source.put(item, time)
            changes += [change] if change else []
        newest = {self.table.key_text(change.image): change for change in changes}
        held = [c for c in changes if c is not newest[self.table.key_text(c.image)] and self.order.random() < 0.3]
        self.held += held
        return [change for change in changes if change not in held]


UNSEEN = 2
"""Number of each table's keys without changes in the stream."""


def test_every_table_and_view_equals_dynamodb_through_the_life_of_a_lake(
    clients: Clients, trino: Trino, read_table: ReadTable, run: Run, seed: int
) -> None:
    order = random.Random(seed)
    now = int(datetime.now(UTC).timestamp() * 1000)
    today = now // DAY_MS * DAY_MS
    start = today - 2 * DAY_MS
    hours = [today + (now - today) * part // 5 for part in range(6)]
    life = Life(clients, trino, read_table, run, datetime.fromtimestamp(start / 1000, UTC))
    tables = {
        life.add("DECIMAL", BY_DECIMAL, old_images=True): DECIMAL_KEYS,
        life.add("BINARY", BY_BINARY, old_images=False): BINARY_KEYS,
    }
    writers = [Writer(order, table, keys[:-UNSEEN]) for table, keys in tables.items()]
    day = life.tables[0].source.day

    def write(phase: int, since: int, until: int, count: int = 25) -> None:
        for writer in writers:
            writer.table.land(writer.write(phase, since, until, count))
        life.convert()

    # The snapshot.
    for table, keys in tables.items():
        for key in (*keys[::2], *keys[-UNSEEN:]):
            table.source.put_unseen(hostile_item(order, key, 0))
    life.backfill()
    life.check()

    # Closed days, before and after their compaction.
    write(0, start, today)
    life.check()
    life.compact()
    life.check()

    # The open day, which is named.
    write(0, hours[0], hours[1])
    life.check()
    life.compact(days=[day(now)])
    life.check()

    # New types: values wait, then columns widen.
    write(2, hours[1], hours[2])
    life.check()
    life.compact()
    life.check()
    assert any(c.widened for c in columns(life, "count", "price", "money", "sizes"))
    life.compact(fold=True)
    life.check_folded(order)

    # Late and repeated changes.
    write(3, hours[2], hours[3])
    for writer in writers:
        held = writer.held
        writer.held = []
        keys_of = writer.table.land(held[::2]) + writer.table.land(held[1::2], day(today - DAY_MS))
        for place, raw in enumerate(keys_of):
            writer.source.land_again(raw, day(now - place % 2 * DAY_MS))
        writer.table.land(order.sample(list(writer.table.landed.values()), 5), day(now))
    life.convert()
    life.check()
    life.compact()
    life.check()

    # The second backfill; the stream has no changes of some items.
    for table, keys in tables.items():
        table.source.remove_unseen(keys[-1])
        table.source.put_unseen(hostile_item(order, keys[-2], 3))
    life.backfill()
    life.check()

    # All values at once.
    for writer, keys in zip(writers, tables.values(), strict=True):
        items = list(every_value(keys))
        writer.table.land([writer.source.put(i, hours[3] + p) for p, i in enumerate(items)])
    life.convert()
    write(PHASES, hours[4], hours[5])
    life.check()
    life.compact(days=[day(now)], fold=True)
    life.check_folded(order)


def columns(life: Life, *attributes: str) -> list[Column]:
    all_columns = [schema_of(table.table.changes()).column(name) for table in life.tables for name in attributes]
    return [column for column in all_columns if column is not None]
