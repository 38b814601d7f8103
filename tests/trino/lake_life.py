"""A lake driven by the DAGs, and the comparison of every table, view and engine with DynamoDB."""

from __future__ import annotations

import json
import random
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any

from dynalake.aws.clients import Clients
from dynalake.aws.s3 import Store
from dynalake.capture.proof.hand_off import HandOff
from dynalake.lake.catalog.table import FOLDED_TO, Table, number, schema_of
from dynalake.lake.tables.make import make_tables
from dynalake.names import Lake
from dynalake.record.change import OPERATION
from dynalake.record.key import ItemKey
from infra.local.engines.trino import Trino
from tests.trino.equality import change_text, item_text, loose, plain_item, row_item, row_text, text, without_empty
from tests.trino.readers import ENGINES, ReadTable
from tests.trino.source_table import Change, Item, SourceTable

Run = Callable[..., dict[str, Any]]
SHOWN = 300
"""Maximum length of a value in an error."""


class LakeTable:
    """A table of the lake and its source, with its landed changes and the expected rows of every engine."""

    def __init__(self, source: SourceTable, trino: Trino, read_table: ReadTable) -> None:
        self.source, self.trino, self.read_table = source, trino, read_table
        self.names = source.names
        self.table = Table(source.clients, source.names)
        make_tables(self.table, source.key, source.arn)
        self.landed: dict[int, Change] = {}
        self.snapshot: list[Item] = []
        """Items of the current snapshot."""

    # -- events --------------------------------------------------------------------------------------------------------

    def land(self, changes: Iterable[Change], day: str = "") -> list[str]:
        landed = list(changes)
        self.landed |= {change.sequence: change for change in landed}
        return self.source.land(landed, day)

    # -- shown ---------------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Check what holds while changes come: every change once, the state and the items, in every engine."""
        state, changes = self.names.state_table, self.names.changes_table
        rows = {name: self.agreed(name) for name in (changes, state)}
        self.check_changes(rows[changes])
        self.check_state(rows[state])
        self.check_current()

    def agreed(self, name: str) -> list[dict[str, Any]]:
        """Return a table's rows, which must be the same in every engine."""
        full = f"{self.names.lake.database}.{name}"
        shown = {engine: self.read_table(engine, full) for engine in ENGINES}
        rows = shown["trino"]
        for engine in ENGINES[1:]:
            few = engine == "pyiceberg"
            equal(texts(shown[engine], few), texts(rows, few), (engine, full))
        return rows

    def check_changes(self, rows: list[dict[str, Any]]) -> None:
        """Check that each change and each item of the snapshot appears exactly once."""
        schema = schema_of(self.table.changes())
        structs = loose(schema)
        expected = Counter(change_text(change, structs) for change in self.landed.values())
        expected += Counter(snapshot_text(item, structs) for item in self.snapshot)
        equal(Counter(row_text(row, schema, structs) for row in rows), expected)

    def check_state(self, rows: list[dict[str, Any]]) -> None:
        """Check each item as of the last fold."""
        head = self.table.items()
        schema, folded_to = schema_of(head), number(head, FOLDED_TO)
        structs = loose(schema)
        expected = Counter(snapshot_text(item, structs) for item in self.only_in_snapshot(folded_to))
        expected += Counter(change_text(change, structs) for change in self.winners(folded_to).values())
        equal(Counter(row_text(row, schema, structs) for row in rows), expected)
        assert [r for r in rows if r["__deleted"] is not (r[OPERATION] == "REMOVE")] == []

    def check_current(self) -> None:
        """Check that the items equal DynamoDB's."""
        schema = schema_of(self.table.changes())
        structs = loose(schema)
        expected = Counter(item_text(*plain_item(item), structs) for item in self.source.items())
        shown = Counter(item_text(*row_item(row, schema), structs) for row in self.view(self.names.current_view))
        equal(shown, expected)

    def check_removed(self) -> None:
        """Check the items that were removed by the last fold, each with its image in the stream."""
        head = self.table.items()
        schema = schema_of(head)
        structs = loose(schema)
        removed = [c for c in self.winners(number(head, FOLDED_TO)).values() if c.operation == "REMOVE"]
        expected = Counter(change_text(change, structs) for change in removed)
        rows = [{**row, OPERATION: "REMOVE"} for row in self.view(self.names.removed_view)]
        equal(Counter(row_text(row, schema, structs) for row in rows), expected)

    def check_history(self, order: random.Random) -> None:
        """Check that history at any moment has the items as the changes up to then left them."""
        schema = schema_of(self.table.changes())
        structs = loose(schema)
        log = sorted(self.landed.values())
        rows = [(row, item_text(*row_item(row, schema), structs)) for row in self.view(self.names.history_view)]
        end = log[-1].time
        for moment in [log[0].time - 1, end, *(order.randint(log[0].time, end) for _ in range(20))]:
            shown = Counter(
                item
                for row, item in rows
                if row["__valid_from"] <= moment and (row["__is_current"] or moment < row["__valid_to"])
            )
            winners = self.winners(moment).values()
            expected = Counter(item_text(*plain_item(c.image), structs) for c in winners if c.operation != "REMOVE")
            equal(shown, expected, moment)
        present = Counter(item for row, item in rows if row["__is_current"])
        equal(present, Counter(item_text(*plain_item(i), structs) for i in self.source.items()))

    def view(self, name: str) -> list[dict[str, Any]]:
        return self.trino(f'SELECT * FROM "{self.names.lake.database}"."{name}"')

    # -- expected ------------------------------------------------------------------------------------------------------

    def winners(self, up_to: int) -> dict[str, Change]:
        """Return the last change of each item up to a time (milliseconds)."""
        changes = sorted(c for c in self.landed.values() if c.time <= up_to)
        return {self.key_text(change.image): change for change in changes}

    def only_in_snapshot(self, up_to: int) -> list[Item]:
        changed = self.winners(up_to)
        return [item for item in self.snapshot if self.key_text(item) not in changed]

    def key_text(self, item: Item) -> str:
        return text(plain_item(self.source.key_of(item))[0])


def snapshot_text(item: Item, structs: set[str]) -> str:
    return f"SNAPSHOT {0:040d}  None\n{item_text(*plain_item(item), structs)}"


def texts(rows: list[dict[str, Any]], few: bool) -> Counter[str]:
    """Return an engine's rows as texts; `few`: without empty values."""
    return Counter(text(without_empty(row) if few else row) for row in rows)


def equal(shown: Counter[str], expected: Counter[str], what: object = "") -> None:
    """Fail with the unexpected and the missing rows."""
    unexpected, missing = shown - expected, expected - shown
    lines = [*(f"shown:\n{_brief(item)}" for item in unexpected), *(f"not shown:\n{_brief(item)}" for item in missing)]
    assert not lines, "\n\n".join([str(what), *lines])


def _brief(item: str) -> str:
    return "\n".join(line if len(line) < SHOWN else f"{line[:SHOWN]}…" for line in item.splitlines())


class Life:
    """A lake driven by the DAGs."""

    def __init__(self, clients: Clients, trino: Trino, read_table: ReadTable, run: Run, hand_off: datetime) -> None:
        self.hand_off, self.clients, self.trino, self.read_table, self.run = hand_off, clients, trino, read_table, run
        self.environment = f"e{uuid.uuid4().hex[:12]}"
        account = clients.sts.get_caller_identity()["Account"]
        self.lake = Lake(self.environment, account, clients.sts.meta.region_name)
        self.tables: list[LakeTable] = []
        clients.s3.create_bucket(Bucket=self.lake.bucket)
        clients.glue.create_database(DatabaseInput={"Name": self.lake.database})
        place = {"bucket": self.lake.bucket, "prefix": self.lake.prefix, "time_zone": self.lake.time_zone}
        clients.ssm.put_parameter(Name=self.lake.lake_parameter, Type="String", Value=json.dumps(place))

    def add(self, name: str, key: ItemKey, *, old_images: bool) -> LakeTable:
        """Add a new table to DynamoDB and the lake, as setup does. `old_images`: whether its stream has them."""
        source = SourceTable(self.clients, self.lake, f"{name}-{self.environment}", key, old_images=old_images)
        taken = HandOff(source.names.table, "mapping", self.hand_off).to_json()
        Store(self.clients, self.lake.bucket).write_json(source.names.hand_off, taken)
        self.tables.append(LakeTable(source, self.trino, self.read_table))
        return self.tables[-1]

    def backfill(self) -> None:
        for table in self.tables:
            self.succeed("dynalake_backfill", table=table.names.table, method="scan", segments=1)
            table.snapshot = [item for item in table.source.items() if not self.left_out(item)]

    def left_out(self, item: Item) -> bool:
        """Return whether the backfill leaves an item to the stream."""
        updated = item.get("updatedAt", {}).get("N")
        return updated is not None and Decimal(updated) * 1000 >= self.hand_off.timestamp() * 1000

    def convert(self) -> None:
        self.succeed("dynalake_convert")

    def compact(self, **conf: Any) -> None:
        self.succeed("dynalake_compact", **conf)

    def succeed(self, dag: str, **conf: Any) -> None:
        states = self.run(dag, environment=self.environment, **conf)
        assert states["run"] == "success", states

    def check(self) -> None:
        for table in self.tables:
            table.check()

    def check_folded(self, order: random.Random) -> None:
        for table in self.tables:
            table.check()
            table.check_removed()
            table.check_history(order)
