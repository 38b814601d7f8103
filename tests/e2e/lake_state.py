"""The contents of a lake, to compare before and after."""

from __future__ import annotations

from dataclasses import dataclass

from dynalake.aws.clients import Clients
from dynalake.capture.proof.hand_off import load_hand_off
from dynalake.lake.catalog.iceberg import Head
from dynalake.lake.catalog.table import Table
from dynalake.lake.files.read import read_rows
from dynalake.lake.hive.hive import list_partitions
from dynalake.lake.hive.json_table import shown_prefix
from dynalake.names import TableNames


@dataclass(frozen=True)
class Lake:
    """The state that must not change: objects (except Firehose's and the watch's), catalog, stacks, hand-off.

    A commit to an Iceberg table makes objects with new names, so these tables' rows are compared: `changes`, `items`.
    """

    objects: dict[str, str]
    changes: list[str]
    items: list[str]
    tables: dict[str, tuple[str, ...]]
    partitions: dict[str, dict[str, str]]
    stacks: dict[str, str]
    hand_off: dict[str, str]
    snapshot: str
    """Prefix of its raw objects, or ''."""


def look(clients: Clients, names: TableNames) -> Lake:
    objects = {}
    for page in clients.s3.get_paginator("list_objects_v2").paginate(Bucket=names.lake.bucket, Prefix="dynamodb"):
        for entry in page.get("Contents", []):
            snapshot = entry["Key"].startswith(names.raw_day("00000000"))
            compared = f"/{names.table}/" in entry["Key"] and not entry["Key"].startswith(of_iceberg(names))
            if compared and (snapshot or not entry["Key"].startswith(names.raw_prefix)):
                objects[entry["Key"]] = entry["ETag"]
    tables: dict[str, tuple[str, ...]] = {}
    for name in (names.current_view, names.removed_view, names.history_view, names.parquet_table, names.json_table):
        table = clients.glue.get_table(DatabaseName=names.lake.database, Name=name)["Table"]
        tables[name] = (table["VersionId"], table.get("ViewOriginalText", ""), str(table["StorageDescriptor"]))
    stacks = {
        name: str(clients.cloudformation.describe_stacks(StackName=name)["Stacks"][0].get("LastUpdatedTime"))
        for name in (names.lake.storage_stack, names.lake.forwarder_stack, names.stack)
    }
    lake = Table(clients, names)
    partitions = {
        table: {day: partition.location for day, partition in list_partitions(lake, table).items()}
        for table in (names.json_table, names.parquet_table)
    }
    hand_off = load_hand_off(Table(clients, names)).to_json()
    rows = rows_of(lake.changes(), ("__run",)), rows_of(lake.items(), ("__run",))
    return Lake(objects, *rows, tables, partitions, stacks, hand_off, shown_prefix(lake, lake.changes()))


def of_iceberg(names: TableNames) -> tuple[str, ...]:
    """Return the key prefixes of objects that the Iceberg tables and the watch write with every run."""
    notes = ("iceberg/", "manifests/", "snapshot-", "garbage", "scrub", "reported/")
    state = tuple(f"{names.state_prefix}{note}" for note in notes)
    passing = (names.conversions, names.named_objects, names.watch_state, names.events_note)
    return (f"{names.changes_location}/", f"{names.items_location}/", *state, *passing)


def rows_of(head: Head, without: tuple[str, ...]) -> list[str]:
    """Return the rows of a table as sorted texts, without the columns that a run numbers."""
    rows = [row for table in read_rows(head, head.files()) for row in table.to_pylist()]
    return sorted(repr({name: value for name, value in row.items() if name not in without}) for row in rows)
