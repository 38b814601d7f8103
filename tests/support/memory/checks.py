"""What must be true of a lake in memory at any moment: rows, views, partitions."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

from dynalake.lake.current.views import trino_type
from tests.support.memory.receipts import Receipts


def check_views(lake: Receipts) -> bool:
    """Check that both tables match the views at the snapshots that they read. Return whether these are held."""
    holds = set()
    for name in (lake.names.current_view, lake.names.removed_view, lake.names.history_view):
        entry = lake.glue.tables[name]
        text = base64.b64decode(entry["ViewOriginalText"].removeprefix("/* Presto View: ").removesuffix(" */"))
        definition = json.loads(text)
        for head in (lake.table.changes(), lake.table.items()):
            snapshots = set(re.findall(rf'"{head.name}" FOR VERSION AS OF (\d+)', definition["originalSql"]))
            read = f'"{head.name}"' in definition["originalSql"]
            holds.add(bool(snapshots)) if read else None
            # A snapshot that a view reads has a name, or it might expire.
            assert {int(i) for i in snapshots} <= set(head.tags.values()), name
            schema = head.schema_at(int(*snapshots)) if snapshots else head.schema
            for column in definition["columns"]:
                if read and not column["name"].startswith("__valid") and column["name"] != "__is_current":
                    assert trino_type(schema.find_field(column["name"]).field_type) == column["type"], (name, column)
    return True in holds


def check_lake(lake: Receipts, items: Any, named: set[str], where: Any) -> None:
    assert lake.rows() == lake.committed, where
    assert lake.items() == items, where
    assert named <= lake.named(), where
    assert not lake.missing(), where
    check_views(lake)


def partitions(lake: Receipts) -> dict[str, dict[str, Any]]:
    return lake.glue.by_day(lake.names.parquet_table)


def location(partition: dict[str, Any]) -> str:
    return str(partition["StorageDescriptor"]["Location"])


def check_partitions(lake: Receipts, where: Any = "", *, exact: bool = True) -> None:
    """Check that each partition shows exactly its day's rows, or those of one moment if the day changed since."""
    for day, partition in partitions(lake).items():
        rows = lake.folder_rows(location(partition))
        assert rows
        assert rows == lake.rows(day) if exact else rows <= lake.committed, (where, day)


def columns(storage: dict[str, Any]) -> dict[str, str]:
    return {c["Name"]: c["Type"] for c in storage["Columns"]}
