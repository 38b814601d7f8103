"""A backfill by export on local AWS gives the records of a scan, checked against DynamoDB's own manifests."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dynalake.aws.clients import Clients
from dynalake.backfill.commit.commit import Committed, commit_backfill
from dynalake.backfill.export.export import check_exports, remove_exports, request_exports
from dynalake.backfill.export.manifest import store_groups
from dynalake.backfill.export.read import convert_group
from dynalake.backfill.plan.run import plan_backfill
from dynalake.backfill.scan.scan import scan_segment
from dynalake.errors import LedgerError, SourceError
from dynalake.lake.catalog.table import Table
from dynalake.lake.hive.json_table import shown_prefix
from dynalake.names import Lake, TableNames
from dynalake.options.backfill import BackfillOptions
from infra.local.demo.items import generated, load_items
from infra.local.demo.lake import LakeReader
from infra.local.demo.writing import create_table, write_items
from infra.local.run.process import LocalAws
from tests.support.aws.capture_steps import patiently
from tests.support.aws.lake import make_lake, register, show

ITEMS = 300
# For a larger file of movies than the generated one, set DYNALAKE_MOVIES=movies.json.
MOVIES = os.environ.get("DYNALAKE_MOVIES", "")


@pytest.fixture(scope="module")
def lake(clients: Clients) -> Lake:
    return make_lake(clients, "exported")


@pytest.fixture(scope="module")
def make(clients: Clients, lake: Lake) -> Callable[..., TableNames]:
    """Makes a registered table with these items and point-in-time recovery."""

    def table(name: str, loaded: Any) -> TableNames:
        create_table(clients.dynamodb, name, loaded.key)
        write_items(clients.dynamodb, name, loaded.items)
        names = lake.table(name)
        register(clients, names, loaded.key)
        return names

    return table


@pytest.fixture(scope="module")
def names(make: Callable[..., TableNames]) -> TableNames:
    return make("ALL-TYPES", generated(ITEMS))


def exported(clients: Clients, names: TableNames, run: str, **options: Any) -> Committed:
    options = {"segments": 2, "target_mb": 0.02, "method": "export", **options}
    plan_backfill(Table(clients, names), run, BackfillOptions(**options))
    return finish(clients, names, run)


def finish(clients: Clients, names: TableNames, run: str) -> Committed:
    exports = request_exports(Table(clients, names), run=run)
    finished = patiently(lambda: check_exports(Table(clients, names), exports))
    for segment in range(len(store_groups(Table(clients, names), finished, run=run).groups)):
        convert_group(Table(clients, names), run=run, segment=segment)
    committed = commit_backfill(Table(clients, names), run=run)
    assert show(Table(clients, names), run).shown
    remove_exports(Table(clients, names), run=run)
    return committed


def scanned(clients: Clients, names: TableNames, run: str) -> Committed:
    plan = plan_backfill(Table(clients, names), run, BackfillOptions(segments=2, method="scan"))
    for segment in range(plan.segments):
        scan_segment(Table(clients, names), run=run, segment=segment)
    committed = commit_backfill(Table(clients, names), run=run)
    assert show(Table(clients, names), run).shown
    return committed


def lines(clients: Clients, names: TableNames, prefix: str) -> Iterator[str]:
    for entry in clients.s3.list_objects_v2(Bucket=names.lake.bucket, Prefix=prefix).get("Contents", []):
        body = clients.s3.get_object(Bucket=names.lake.bucket, Key=entry["Key"])["Body"].read()
        yield from gzip.decompress(body).decode().splitlines()


def records(clients: Clients, names: TableNames, run: str) -> list[str]:
    """Return the run's records without the time of their read."""
    parsed = [json.loads(line, parse_float=str) for line in lines(clients, names, names.snapshot_run(run))]
    return sorted(json.dumps({**record, "__event_time": 0}, sort_keys=True) for record in parsed)


def shown(clients: Clients, names: TableNames) -> str:
    table = Table(clients, names)
    return shown_prefix(table, table.changes())


def test_an_export_gives_the_records_of_a_scan(clients: Clients, names: TableNames) -> None:
    """All types, digit for digit. An export has binary as base64 text, a scan as bytes."""
    committed = exported(clients, names, "export")
    assert committed.ledger.total.read == committed.ledger.total.kept == ITEMS
    assert committed.to_json()["manifest"] == ITEMS
    assert len({file.key for group in (committed.ledger.groups or []).groups for file in group}) > 1  # type: ignore[union-attr]
    assert shown(clients, names) == names.snapshot_run("export")
    by_export = records(clients, names, "export")
    scanned(clients, names, "scan")
    assert by_export == records(clients, names, "scan")
    listed = clients.s3.list_objects_v2(Bucket=names.lake.bucket, Prefix=names.export_prefix("export"))
    assert "Contents" not in listed


def test_the_snapshot_equals_the_table_in_sql(clients: Clients, names: TableNames, local_aws: LocalAws) -> None:
    exported(clients, names, "sql", updated_before="2020-01-01T00:00:00Z")
    comparison = LakeReader(Table(clients, names), local_aws.env()).compare()
    assert comparison.same, comparison.text()
    assert comparison.items == comparison.rows == ITEMS


def test_movies_by_both_methods(
    clients: Clients, make: Callable[..., TableNames], local_aws: LocalAws, tmp_path: Path
) -> None:
    file = Path(MOVIES) if MOVIES else tmp_path / "movies.json"
    if not MOVIES:
        movies = [
            {"year": 1990 + n % 30, "title": f"Movie {n}", "info": {"rating": n / 10, "genres": ["Drama", "É"]}}
            for n in range(200)
        ]
        file.write_text(json.dumps(movies))
    loaded = load_items(file, "year:N,title:S")
    names = make("MOVIES", loaded)
    by_scan, by_export = scanned(clients, names, "scan"), exported(clients, names, "export", target_mb=64)
    print(by_scan.ledger.markdown(), by_export.ledger.markdown(), sep="\n\n")
    assert records(clients, names, "scan") == records(clients, names, "export")
    assert by_scan.ledger.total == by_export.ledger.total
    comparison = LakeReader(Table(clients, names), local_aws.env()).compare()
    assert comparison.same, comparison.text()


def test_an_empty_table(clients: Clients, make: Callable[..., TableNames]) -> None:
    empty = make("EMPTY", generated(0))
    committed = exported(clients, empty, "empty")
    assert committed.ledger.total.read == 0
    assert shown(clients, empty) == empty.snapshot_run("empty")


def test_a_changed_file_is_not_used(clients: Clients, names: TableNames) -> None:
    before = shown(clients, names)
    plan_backfill(Table(clients, names), "changed", BackfillOptions(method="export"))
    exports = request_exports(Table(clients, names), run="changed")
    finished = patiently(lambda: check_exports(Table(clients, names), exports))
    groups = store_groups(Table(clients, names), finished, run="changed")
    file = groups.groups[0][0]
    clients.s3.put_object(Bucket=names.lake.bucket, Key=file.key, Body=gzip.compress(b'{"Item":{}}\n' * file.items))
    with pytest.raises(LedgerError, match=r"has the MD5 .*, but the manifest says"):
        convert_group(Table(clients, names), run="changed", segment=0)
    assert shown(clients, names) == before
    # It does not affect the next run.
    assert exported(clients, names, "after").ledger.total.read == ITEMS


def test_a_table_without_recovery(clients: Clients, lake: Lake) -> None:
    loaded = generated(2)
    create_table(clients.dynamodb, "NO-RECOVERY", loaded.key)
    clients.dynamodb.update_continuous_backups(
        TableName="NO-RECOVERY", PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": False}
    )
    names = lake.table("NO-RECOVERY")
    assert plan_backfill(Table(clients, names), "auto", BackfillOptions()).method == "scan"
    with pytest.raises(SourceError, match="recovery of table 'NO-RECOVERY' is off"):
        plan_backfill(Table(clients, names), "export", BackfillOptions(method="export"))
    assert (
        plan_backfill(Table(clients, names), "enabled", BackfillOptions(method="export", enable_pitr=True)).method
        == "export"
    )
