"""Plan, export, convert and commit together: idempotence, kills at every step, faults of DynamoDB and of files."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynalake.backfill.commit.commit import commit_backfill
from dynalake.backfill.export.export import Export, check_exports, export_request, request_exports
from dynalake.backfill.export.manifest import DataFile, plan_groups
from dynalake.backfill.export.numbers import Known, greatest_before
from dynalake.backfill.export.read import convert_group
from dynalake.backfill.plan.run import plan_backfill
from dynalake.errors import (
    AccessError,
    DynalakeError,
    LedgerError,
    NotReadyError,
    RecordError,
    SourceError,
    TransientError,
)
from dynalake.lake.catalog.table import Table
from dynalake.options.backfill import BackfillOptions
from tests.support.sweep import played
from tests.unit.backfill.exports import FakeExports, md5
from tests.unit.backfill.fakes import Kill, KilledError, receipts
from tests.unit.backfill.flow import NOW, backfill_exported, export
from tests.unit.backfill.world import World

pytestmark = pytest.mark.slow

OLD, NEW = {"N": "1500000000"}, {"S": "2024-05-25T00:00:00Z"}
CUTOFF = "2019-05-25T12:00:00Z"


def test_every_item_arrives_once_as_a_snapshot_record(world: World) -> None:
    items = receipts(400, updated={n: OLD if n % 2 else NEW for n in range(200)})
    table = FakeExports(items, world.s3)
    run = "manual__2019-05-25T12:00:00+00:00"  # as Airflow names them
    committed = backfill_exported(world.clients(table), world.names, run=run, updated_before=CUTOFF)
    records = world.visible()
    kept = [item for item in items if item.get("updatedAt") != NEW]
    assert sorted(record["id"] for record in records) == [item["id"]["S"] for item in kept]
    assert {(r["__operation"], r["__sequence_number"], r["__event_time"]) for r in records} == {
        ("SNAPSHOT", "0" * 40, int(NOW.timestamp() * 1000))
    }
    counts = committed.to_json()
    assert (counts["read"], counts["kept"], counts["filtered"], counts["manifest"], counts["files"]) == (
        400,
        300,
        100,
        400,
        3,
    )
    assert table.requests == []  # no scan
    assert not [key for key in world.lake() if "/export/" in key]
    assert "400 items by the manifests, in 3 files" in committed.ledger.markdown()
    assert committed.ledger.plan.method == "export"


@pytest.mark.parametrize("key", ["", "arn:aws:kms:eu-west-1:123456789012:key/one"])
def test_an_export_is_encrypted_with_the_key_of_the_lake(world: World, key: str) -> None:
    """By default DynamoDB uses S3's own keys, which a bucket's policy may not allow.

    https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_ExportTableToPointInTime.html
    """
    names = replace(world.names.lake, kms_key_arn=key).table(world.names.table)
    table = FakeExports(receipts(4), world.s3)
    plan = plan_backfill(Table(world.clients(table), names), "keyed", BackfillOptions(method="export"))
    request = export_request(names, plan, "arn", Export(None))
    encryption = {name: value for name, value in request.items() if name.startswith("S3Sse")}
    assert encryption == ({"S3SseAlgorithm": "KMS", "S3SseKmsKeyId": key} if key else {})


def test_an_item_with_a_time_after_the_export_is_kept(world: World) -> None:
    """The moment that the export shows counts, not when its files are read."""
    items = receipts(4, updated={0: {"S": "2019-05-25T12:00:00Z"}, 1: {"S": "2019-05-25T12:00:01Z"}, 2: NEW})
    options: dict[str, Any] = {"hand_off": "2019-05-25T11:00:00Z"}
    committed = backfill_exported(world.clients(FakeExports(items, world.s3)), world.names, **options)
    counts = committed.to_json()
    assert (counts["kept"], counts["filtered"], counts["kept_future"]) == (3, 1, 2)


def test_a_run_killed_at_every_step_and_retried_gives_the_same_lake(world: World) -> None:
    items = receipts(5, updated={0: OLD, 3: NEW})
    options: dict[str, Any] = {"updated_before": CUTOFF, "target_mb": 0.002, "segments": 1}
    counter = Kill()
    backfill_exported(world.clients(FakeExports(items, world.s3, files=2), counter), world.names, **options)
    expected = world.lake()
    assert {"export_table_to_point_in_time", "put_object", "delete_objects"} <= set(counter.changing.values())
    for step, call in played([*counter.changing.items()]):
        world.wipe()
        table = FakeExports(items, world.s3, files=2)
        with pytest.raises(KilledError, match=call):
            backfill_exported(world.clients(table, Kill(step, after=True)), world.names, **options)
        backfill_exported(world.clients(table), world.names, **options)
        assert world.lake() == expected, f"killed after call {step}: {call}"
        assert len(table.exports) == 1, f"exported twice after a kill after call {step}: {call}"


def test_repeating_a_run_changes_nothing(world: World) -> None:
    clients = world.clients(FakeExports(receipts(60), world.s3))
    first = backfill_exported(clients, world.names)
    before = world.lake()
    assert backfill_exported(clients, world.names).location == first.location
    assert world.lake() == before


def test_the_export_is_kept_if_the_run_says_so(world: World) -> None:
    backfill_exported(world.clients(FakeExports(receipts(5), world.s3)), world.names, keep_export=True)
    kept = world.objects(world.names.export_prefix("manual__1"))
    assert {key.rpartition(".")[2] for key in kept} == {"gz", "json", "md5"}


def test_an_empty_table(world: World) -> None:
    committed = backfill_exported(world.clients(FakeExports([], world.s3)), world.names)
    assert committed.ledger.total.read == 0
    assert committed.location.endswith("/dt=00000000/manual__1/")
    assert world.objects("dynamodb/json/") == {}


def test_a_manifest_without_files(world: World) -> None:
    committed = backfill_exported(world.clients(FakeExports([], world.s3, files=0)), world.names)
    assert committed.ledger.total.read == 0
    assert len(committed.ledger.segments) == 1


def test_auto_exports_if_possible(world: World) -> None:
    def chosen(table: FakeExports, run: str, **options: Any) -> str:
        return plan_backfill(Table(world.clients(table), world.names), run, BackfillOptions(**options)).method

    off = FakeExports(receipts(3), world.s3, recovery=False)
    assert chosen(FakeExports(receipts(3), world.s3), "on") == "export"
    assert chosen(FakeExports(receipts(3), world.s3), "scan", method="scan") == "scan"
    assert chosen(off, "off") == "scan"
    with pytest.raises(
        SourceError, match=r"recovery of table 'RECEIPTS' is off.*enable_pitr=true.*aws dynamodb update"
    ):
        chosen(off, "export", method="export")
    for requested, method in (("auto", "export"), ("export", "export"), ("scan", "scan")):
        assert chosen(off, "dry", method=requested, enable_pitr=True, dry_run=True) == method, "what the run would do"
    assert not off.recovery
    assert chosen(off, "enabled", method="export", enable_pitr=True) == "export"
    assert off.recovery


def test_an_error_says_that_recovery_was_turned_off_in_the_meantime(world: World) -> None:
    table = FakeExports(receipts(3), world.s3)
    plan_backfill(Table(world.clients(table), world.names), "r", BackfillOptions(method="export"))
    table.recovery = False
    with pytest.raises(SourceError, match="recovery of table 'RECEIPTS' is off"):
        request_exports(Table(world.clients(table), world.names), run="r")


def test_an_export_that_fails_is_requested_again(world: World) -> None:
    table = FakeExports(receipts(3), world.s3, looks=0)
    clients = world.clients(table)
    plan_backfill(Table(clients, world.names), "r", BackfillOptions(method="export"), now=lambda: NOW)
    table.failure = ("InternalServerError", "try again")
    with pytest.raises(TransientError, match="failed: InternalServerError"):
        check_exports(Table(clients, world.names), request_exports(Table(clients, world.names), run="r"))
    table.failure = ("S3AccessDenied", "no")
    with pytest.raises(AccessError, match="s3:PutObjectAcl"):
        check_exports(Table(clients, world.names), request_exports(Table(clients, world.names), run="r"))
    table.failure = None
    backfill_exported(clients, world.names, run="r")
    assert len(table.exports) == 3
    assert len(world.visible()) == 3


def test_an_export_from_before_the_hand_off_is_refused(world: World) -> None:
    table = FakeExports(receipts(3), world.s3)
    table.exported_at = NOW - timedelta(minutes=5)
    with pytest.raises(LedgerError, match="before it was planned"):
        backfill_exported(world.clients(table), world.names)


def exported_file(world: World) -> tuple[str, bytes]:
    """The key and the content of one data file with items."""
    files = world.objects(world.names.export_prefix("r"))
    return next((key, body) for key, body in files.items() if key.endswith(".gz") and len(body) > 100)


def change_manifest(world: World, name: str, change: Callable[[str], str]) -> None:
    (key,) = [key for key in world.objects(world.names.export_prefix("r")) if key.endswith(f"{name}.json")]
    body = change(world.objects(key)[key].decode()).encode()
    world.s3.put_object(Bucket=world.names.lake.bucket, Key=key, Body=body)
    world.s3.put_object(Bucket=world.names.lake.bucket, Key=key[:-4] + "md5", Body=md5(body).encode())


def damage(world: World, what: str) -> None:
    if what.startswith("manifest"):
        changes: dict[str, tuple[str, Callable[[str], str]]] = {
            "manifest: another count": ("manifest-files", lambda text: text.replace('"itemCount": ', '"itemCount": 1')),
            "manifest: a file is missing": ("manifest-files", lambda text: text.split("\n", 1)[1]),
            "manifest: another sum": ("manifest-summary", lambda text: text.replace('"itemCount": ', '"itemCount": 1')),
        }
        change_manifest(world, *changes[what])
        return
    key, body = exported_file(world)
    if what == "file: gone":
        world.s3.delete_object(Bucket=world.names.lake.bucket, Key=key)
        return
    lines = gzip.decompress(body).splitlines(keepends=True)
    bodies = {
        "file: one byte differs": body[:-1] + bytes([body[-1] ^ 1]),
        "file: cut": body[:-9],
        "file: no gzip": b"x" * 50,
        "file: one line less": gzip.compress(b"".join(lines[:-1])),
        "file: one line more": gzip.compress(b"".join([*lines, lines[0]])),
        "file: no JSON": gzip.compress(b"".join([*lines[:-1], b"{\n"])),
        "file: a line without an end": gzip.compress(b'{"Item":{"a":{"S":"' + b"x" * (17 << 20)),
        "file: deep": gzip.compress(b"".join([*lines[:-1], b"[" * 100_000 + b"\n"])),
        "file: no item": gzip.compress(b"".join([*lines[:-1], b'{"Other":{}}\n'])),
        "file: a number that is none": gzip.compress(
            b"".join([*lines[:-1], b'{"Item":{"id":{"S":"a"},"n":{"N":"x"}}}\n'])
        ),
    }
    world.s3.put_object(Bucket=world.names.lake.bucket, Key=key, Body=bodies[what])
    if what not in ("file: one byte differs",):
        change_manifest(world, "manifest-files", lambda text: text.replace(md5(body), md5(bodies[what])))


def read_all(world: World, table: FakeExports) -> None:
    clients = world.clients(table)
    for segment in range(len(export(clients, world.names, run="r").groups)):
        convert_group(Table(clients, world.names), run="r", segment=segment)


@pytest.mark.parametrize(
    ("what", "kind", "message"),
    [
        ("file: one byte differs", LedgerError, r"has the MD5 .*, but the manifest says"),
        ("file: gone", LedgerError, "does not exist"),
        ("file: cut", RecordError, "cannot be read"),
        ("file: no gzip", RecordError, "cannot be read"),
        ("file: one line less", LedgerError, r"holds \d+ items, but the manifest says"),
        ("file: one line more", LedgerError, r"holds \d+ items, but the manifest says"),
        ("file: no JSON", RecordError, "Line .* cannot be read"),
        ("file: a line without an end", RecordError, "Line 1 .* longer than 16,777,216 bytes"),
        ("file: deep", RecordError, "Line .* cannot be read"),
        ("file: no item", RecordError, "has no item; its fields: Other"),
        ("file: a number that is none", RecordError, "Attribute 'n'"),
        ("manifest: another count", LedgerError, "lists files with"),
        ("manifest: a file is missing", LedgerError, "lists files with"),
        ("manifest: another sum", LedgerError, "its summary says"),
    ],
)
def test_an_export_that_differs_from_its_manifest_is_not_committed(
    world: World, what: str, kind: type[DynalakeError], message: str
) -> None:
    table = FakeExports(receipts(30), world.s3, looks=0)
    clients = world.clients(table)
    backfill_exported(clients, world.names, run="before")
    before = world.visible()
    plan_backfill(Table(clients, world.names), "r", BackfillOptions(method="export", segments=1), now=lambda: NOW)
    check_exports(Table(clients, world.names), request_exports(Table(clients, world.names), run="r"))
    damage(world, what)
    with pytest.raises(kind, match=message):
        read_all(world, table)
    with pytest.raises(NotReadyError):
        commit_backfill(Table(clients, world.names), run="r")
    assert world.visible() == before


def test_a_manifest_that_differs_from_its_checksum(world: World) -> None:
    clients = world.clients(FakeExports(receipts(3), world.s3, looks=0))
    plan_backfill(Table(clients, world.names), "r", BackfillOptions(method="export"), now=lambda: NOW)
    check_exports(Table(clients, world.names), request_exports(Table(clients, world.names), run="r"))
    (key,) = [key for key in world.objects(world.names.export_prefix("r")) if key.endswith("manifest-files.md5")]
    world.s3.put_object(Bucket=world.names.lake.bucket, Key=key, Body=b"AAAA")
    with pytest.raises(LedgerError, match="does not match its checksum"):
        export(clients, world.names, run="r")


def test_the_ledger_counts_match_the_manifests(world: World) -> None:
    """The commit notices a group whose checkpoint says that it read less than it had."""
    clients = world.clients(FakeExports(receipts(30), world.s3))
    plan_backfill(Table(clients, world.names), "r", BackfillOptions(method="export", segments=1), now=lambda: NOW)
    export(clients, world.names, run="r")
    convert_group(Table(clients, world.names), run="r", segment=0)
    key = f"{world.names.backfill_state('r')}files.json"
    stored = json.loads(world.objects(key)[key])
    world.s3.put_object(Bucket=world.names.lake.bucket, Key=key, Body=json.dumps({**stored, "items": 31}).encode())
    with pytest.raises(LedgerError, match="read 30 items, but the export's manifests say 31"):
        commit_backfill(Table(clients, world.names), run="r")


@given(st.lists(st.integers(0, 1000), max_size=40), st.integers(1, 12))
def test_groups_have_every_file_once_and_an_even_size(items: list[int], count: int) -> None:
    files = [DataFile(f"data/{n:03d}.json.gz", size, "x") for n, size in enumerate(items)]
    groups = plan_groups(files, count)
    assert sorted(file.key for group in groups for file in group) == [file.key for file in files]
    assert 1 <= len(groups) <= count
    assert groups == plan_groups(reversed(files), count)
    loads = [sum(file.items for file in group) for group in groups]
    assert max(loads) - min(loads) <= max(items, default=0)
    if len(files) >= count:
        assert all(groups)


def changes(start: int) -> list[dict[str, Any]]:
    """Return the lines of a window's incremental export: an item created, one changed, one removed."""
    written = {"WriteTimestampMicros": {"N": str((start + 60) * 1_000_000)}}
    one, two, three = ({"id": {"S": name}} for name in ("one", "two", "three"))
    return [
        {"Metadata": written, "Keys": one, "NewImage": {**one, "n": {"N": "1.10"}}},
        {"Metadata": written, "Keys": two, "OldImage": two, "NewImage": {**two, "n": {"N": "2"}}},
        {"Metadata": written, "Keys": three, "OldImage": three},
    ]


def test_an_import_of_windows_killed_at_every_step_shows_each_change_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two windows of a day each at most; nothing can be queried before the sums are checked.

    Of the last items that the lake had in a window, one was removed there, one was put back, one is in the export.
    """
    monkeypatch.setattr("dynalake.backfill.export.read.look_up", lambda table, key, wanted: greatest_before(wanted, ()))
    monkeypatch.setattr("dynalake.backfill.source.pace.BACK_OFF_SECONDS", 0.0)
    monkeypatch.setattr("dynalake.backfill.export.vanished._SHARES", 2)
    start = int(NOW.timestamp()) - 30 * 3600
    had = [Known((name,), "7".zfill(40), (start + 30) * 1000, "INSERT") for name in ("vanished", "back", "one")]
    monkeypatch.setattr("dynalake.backfill.export.vanished.known_changes", lambda table, key, since: iter(had))
    put_back = [{"id": {"S": "back"}}]
    lines = {start: changes(start), start + 15 * 3600: changes(start + 15 * 3600)}
    options: dict[str, Any] = {"export_type": "incremental", "window_from": str(start), "segments": 1}
    counter = Kill()
    table = FakeExports(put_back, world.s3, files=1, lines=lines)
    committed = backfill_exported(world.clients(table, counter), world.names, **options)
    assert (committed.ledger.total.read, committed.ledger.groups and committed.ledger.groups.items) == (7, 6)
    assert committed.to_json()["vanished"] == 1
    assert "1 item came and went" in committed.ledger.note()
    assert "| came and went | 1 | 1 |" in committed.ledger.markdown()
    expected = world.lake()
    raw, removals = [key for key in expected if key.startswith("dynamodb/json/")]
    assert raw.startswith("dynamodb/json/RECEIPTS/dt=20190526/import-manual__1-")
    bodies = world.objects("dynamodb/json/")
    assert len(gzip.decompress(bodies[raw]).splitlines()) == 6
    latest = (start + 15 * 3600) * 1_000_000 - 1
    assert json.loads(gzip.decompress(bodies[removals])) == {
        "__operation": "REMOVE",
        "__sequence_number": f"{'7'.zfill(40)}.{latest}",
        "__event_time": latest // 1000,
        "id": "vanished",
    }
    assert world.committed == "manual__1"
    # Cleared on another day, it finds its own objects there.
    commit_backfill(Table(world.clients(table), world.names), run="manual__1", now=lambda: NOW + timedelta(days=3))
    assert world.lake() == expected
    for step in played([*counter.changing]):
        world.wipe()
        table = FakeExports(put_back, world.s3, files=1, lines=lines)
        with pytest.raises(KilledError):
            backfill_exported(world.clients(table, Kill(step, after=True)), world.names, **options)
        backfill_exported(world.clients(table), world.names, **options)
        assert world.lake() == expected, f"killed after call {step}"
        assert len(table.exports) == 2
