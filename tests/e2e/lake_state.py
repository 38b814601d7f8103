"""What a lake is made of, to be compared before and after."""

from __future__ import annotations

from dataclasses import dataclass

from dynalake.capture.hand_off import load_hand_off
from dynalake.catalog.partitions import list_partitions, snapshot_location
from dynalake.clients import Clients
from dynalake.names import TableNames


@dataclass(frozen=True)
class Lake:
    """What must not change: objects but Firehose's and the watch's, catalog, stacks, hand-off."""

    objects: dict[str, str]
    tables: dict[str, tuple[str, ...]]
    partitions: dict[str, dict[str, str]]
    stacks: dict[str, str]
    hand_off: str
    snapshot: str | None


def look(clients: Clients, names: TableNames) -> Lake:
    objects = {}
    for page in clients.s3.get_paginator("list_objects_v2").paginate(Bucket=names.lake.bucket, Prefix="dynamodb"):
        for entry in page.get("Contents", []):
            snapshot = entry["Key"].startswith(names.raw_day("00000000"))
            mine = f"/{names.table}/" in entry["Key"] and not entry["Key"].endswith("/watch.json")
            if mine and (snapshot or not entry["Key"].startswith(names.raw_prefix)):
                objects[entry["Key"]] = entry["ETag"]
    tables: dict[str, tuple[str, ...]] = {}
    for name in (names.raw_table, names.typed_table, names.changes_view, names.latest_view):
        table = clients.glue.get_table(DatabaseName=names.lake.database, Name=name)["Table"]
        tables[name] = (table["VersionId"], table.get("ViewOriginalText", ""), str(table["StorageDescriptor"]))
    stacks = {
        name: str(clients.cloudformation.describe_stacks(StackName=name)["Stacks"][0].get("LastUpdatedTime"))
        for name in (names.lake.storage_stack, names.lake.forwarder_stack, names.stack)
    }
    partitions = {
        table: {day: found.location for day, found in list_partitions(clients, names, table).items()}
        for table in (names.raw_table, names.typed_table)
    }
    hand_off = load_hand_off(clients, names).to_json()
    return Lake(objects, tables, partitions, stacks, hand_off, snapshot_location(clients, names))
