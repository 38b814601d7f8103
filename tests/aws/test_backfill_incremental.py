"""An outage longer than the stream's retention: an incremental export brings the lost changes, on local AWS."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dynalake.aws.clients import Clients
from dynalake.backfill.commit.commit import Committed, commit_backfill
from dynalake.backfill.export.export import check_exports, request_exports
from dynalake.backfill.export.manifest import store_groups
from dynalake.backfill.export.read import convert_group
from dynalake.backfill.plan.run import plan_backfill
from dynalake.lake.catalog.table import Table
from dynalake.lake.hive.json_table import shown_prefix
from dynalake.names import TableNames
from dynalake.options.backfill import BackfillOptions
from dynalake.record.change import encode_change
from infra.local.demo.items import parse_key
from infra.local.demo.lake import LakeReader
from infra.local.demo.writing import create_table
from infra.local.run.process import LocalAws
from tests.support.aws.capture_steps import patiently
from tests.support.aws.lake import convert, make_lake, night, register

HOUR = 3600
BEFORE = "20190524"
"""Day on which the changes before the outage arrived; it is compacted."""


@pytest.fixture
def names(clients: Clients, local_aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> TableNames:
    """A table of which the lake lacks the second hour of changes."""
    table_names = make_lake(clients, "outage").table("OUTAGE")
    key = parse_key("year:N,title:S")
    create_table(clients.dynamodb, table_names.table, key)
    register(clients, table_names, key)
    now = int(time.time())
    after = table_names.lake.day_of(datetime.fromtimestamp(now - HOUR, UTC))
    writer = Writer(clients, table_names)
    for title in ("kept", "changed", "removed", "caught up", "captured"):
        writer.put(title, 1)
    writer.arrive(BEFORE, now - 2 * HOUR)
    age(local_aws, table_names, HOUR)
    writer.put("changed", 2)
    writer.put("changed", 3)
    writer.remove("removed")
    writer.put("new", 1)
    writer.put("caught up", 2)
    writer.lose()
    # One change of the lost hour has arrived, another of the same item has not.
    writer.put("captured", 2)
    # The insertion of these two has arrived, and the removal has not; the second exists again after the outage.
    writer.put("came and went", 1)
    writer.put("came back", 1)
    writer.arrive(after, now - HOUR)
    writer.remove("came and went")
    writer.remove("came back")
    writer.put("captured", 3)
    writer.lose()
    age(local_aws, table_names, HOUR)
    writer.put("caught up", 3)
    writer.put("later", 1)
    writer.put("came back", 2)
    writer.arrive(after, now)
    return table_names


class Writer:
    """Writes items, and the changes that the stream would have brought into the lake."""

    def __init__(self, clients: Clients, names: TableNames) -> None:
        self.clients, self.names = clients, names
        self.number = 10**26
        self.made: list[tuple[str, dict[str, Any]]] = []

    def put(self, title: str, version: int) -> None:
        item = {"year": {"N": "1999.50"}, "title": {"S": title}, "v": {"N": str(version)}}
        self.clients.dynamodb.put_item(TableName=self.names.table, Item=item)
        self.made.append(("INSERT" if version == 1 else "MODIFY", item))

    def remove(self, title: str) -> None:
        item = {"year": {"N": "1999.50"}, "title": {"S": title}}
        self.clients.dynamodb.delete_item(TableName=self.names.table, Key=item)
        self.made.append(("REMOVE", item))

    def lose(self) -> None:
        self.number += len(self.made)
        self.made = []

    def arrive(self, day: str, at: int) -> None:
        lines = []
        for operation, item in self.made:
            self.number += 1
            number = str(self.number)
            lines.append(encode_change(item, operation=operation, sequence_number=number, event_time=at * 1000))
        key = f"{self.names.raw_day(day)}{self.number}.json"
        self.clients.s3.put_object(Bucket=self.names.lake.bucket, Key=key, Body="\n".join(lines).encode())
        self.made = []


def age(local_aws: LocalAws, names: TableNames, seconds: int) -> None:
    local_aws.call("POST", "/_dynalake/point-in-time-recovery", {"name": names.table, "seconds": seconds})


def imported(clients: Clients, names: TableNames, run: str) -> Committed:
    now = int(time.time())
    options = BackfillOptions(
        export_type="incremental",
        segments=2,
        window_from=str(now - HOUR - HOUR // 2),
        window_to=str(now - HOUR // 2),
    )
    plan_backfill(Table(clients, names), run, options)
    exports = request_exports(Table(clients, names), run=run)
    finished = patiently(lambda: check_exports(Table(clients, names), exports))
    for segment in range(len(store_groups(Table(clients, names), finished, run=run).groups)):
        convert_group(Table(clients, names), run=run, segment=segment)
    return commit_backfill(Table(clients, names), run=run)


def raw_lines(clients: Clients, names: TableNames) -> list[str]:
    import gzip

    texts = []
    for entry in clients.s3.list_objects_v2(Bucket=names.lake.bucket, Prefix=names.raw_prefix)["Contents"]:
        if "/import-" in entry["Key"]:
            body = clients.s3.get_object(Bucket=names.lake.bucket, Key=entry["Key"])["Body"].read()
            texts += gzip.decompress(body).decode().splitlines()
    return sorted(texts)


def test_changes_that_the_stream_lost_come_from_an_export(
    clients: Clients, names: TableNames, local_aws: LocalAws
) -> None:
    table = Table(clients, names)
    reader = LakeReader(table, local_aws.env())
    # The first day is compacted, the others are not; the import reads both kinds.
    convert(table, days=[BEFORE])
    assert night(table) == ()
    assert not reader.compare().same
    committed = imported(clients, names, "first")
    assert committed.ledger.total.read == 6
    assert committed.ledger.vanished == 1
    convert(table)
    assert shown_prefix(table, table.changes()) == "", "there is still no snapshot"
    comparison = reader.compare()
    assert comparison.same, comparison.text()
    assert comparison.rows == 7

    changes = reader.read(lambda now: now.changes, "title, v, __operation AS operation, __sequence_number AS number")
    by_title: dict[str, list[tuple[Any, str]]] = {}
    for row in sorted(changes, key=lambda row: str(row["number"])):
        by_title.setdefault(row["title"], []).append((row["v"], row["operation"]))
    assert by_title == {
        "kept": [(1, "INSERT")],
        "changed": [(1, "INSERT"), (3, "MODIFY")],
        "removed": [(1, "INSERT"), (1, "REMOVE")],
        "new": [(1, "INSERT")],
        "caught up": [(1, "INSERT"), (2, "MODIFY"), (3, "MODIFY")],
        "captured": [(1, "INSERT"), (2, "MODIFY"), (3, "MODIFY")],
        "later": [(1, "INSERT")],
        "came and went": [(1, "INSERT"), (None, "REMOVE")],
        "came back": [(1, "INSERT"), (2, "MODIFY")],
    }

    # Committed again, and imported again by another run: the same changes with the same numbers.
    before = raw_lines(clients, names)
    commit_backfill(Table(clients, names), run="first")
    assert raw_lines(clients, names) == before
    imported(clients, names, "second")
    # The lake has the removal that no export has, so it is not made again.
    exported = [line for line in before if '"came and went"' not in line]
    assert raw_lines(clients, names) == sorted(before + exported)
    assert len({(json.loads(line)["title"], json.loads(line)["__sequence_number"]) for line in before}) == 6
    convert(table)
    assert reader.compare().same
    assert len(reader.read(lambda now: now.changes)) == len(changes)

    # Everything is compacted, with each change once.
    assert night(table, lambda: datetime.now(UTC) + timedelta(days=2)) == ()
    assert reader.compare().same
    assert len(reader.read(lambda now: now.changes)) == len(changes)
    assert sum(file.rows for file in table.changes().files()) == len(changes)
