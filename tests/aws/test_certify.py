"""Certificates of equality on local AWS: by export and by scan, of a lake that is right, and of one that is not."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest

from dynalake.aws.clients import Clients
from dynalake.backfill.export.export import check_exports, request_exports
from dynalake.backfill.export.manifest import store_groups
from dynalake.backfill.plan.run import plan_backfill
from dynalake.backfill.scan.scan import scan_segment
from dynalake.certify import compare
from dynalake.certify.certificate import Certificate, check_certificates, load_certificate
from dynalake.certify.compare import compare_items
from dynalake.certify.doubts import settle_doubts
from dynalake.certify.versions import SKEW_MS
from dynalake.errors import AlarmError, NotReadyError, SettingsError
from dynalake.lake.catalog.clock import now_ms
from dynalake.lake.catalog.table import Table
from dynalake.lake.current.fold import fold
from dynalake.options.backfill import BackfillOptions
from dynalake.record.change import encode_change
from infra.local.demo.items import generated
from infra.local.demo.writing import create_table, write_items
from tests.support.aws.capture_steps import patiently
from tests.support.aws.lake import convert, make_lake, register, show

ITEMS = 300
_numbers = count()

Item = dict[str, Any]


@pytest.fixture
def table(clients: Clients) -> Table:
    """A table with items of all types, brought into its lake by a scan."""
    table = Table(clients, make_lake(clients).table(f"CERTIFIED-{next(_numbers)}"))
    loaded = generated(ITEMS)
    create_table(clients.dynamodb, table.names.table, loaded.key)
    write_items(clients.dynamodb, table.names.table, loaded.items)
    register(clients, table.names, loaded.key)
    plan_backfill(table, "first", BackfillOptions(method="scan", segments=1))
    scan_segment(table, run="first", segment=0)
    assert show(table, "first").shown
    return table


def compared(table: Table, method: str, run: str = "certify") -> None:
    """Run `dynalake_certify` up to the comparison."""
    plan_backfill(table, run, BackfillOptions(method=method))
    if method == "export":
        exports = request_exports(table, run=run)
        store_groups(table, patiently(lambda: check_exports(table, exports)), run=run)
    compare_items(table, run=run)


def certified(table: Table, method: str) -> Certificate:
    """Run `dynalake_certify`, without patience for changes that have not landed."""
    compared(table, method)
    return settle_doubts(table, run="certify", target_minutes=0)


def items_of(table: Table) -> list[Item]:
    pages = table.clients.dynamodb.get_paginator("scan").paginate(TableName=table.names.table)
    return sorted((item for page in pages for item in page["Items"]), key=lambda item: str(item["receiptId"]))


def change(table: Table, item: Item, sequence: int, operation: str = "MODIFY", *, ago: int = 0) -> None:
    """Let a change of an item, made some milliseconds ago, land in the lake, and convert it."""
    line = encode_change(item, operation=operation, sequence_number=str(sequence), event_time=now_ms() - ago)
    day = table.names.lake.day_of(datetime.now(UTC))
    table.store.write(f"{table.names.raw_day(day)}{operation}-{sequence}.gz", gzip.compress(f"{line}\n".encode()))
    assert convert(table) is not None


@pytest.mark.parametrize("method", ["scan", "export"])
def test_a_lake_that_is_right_has_no_differences(table: Table, method: str) -> None:
    """Also for changes since the fold, items that came and went, and a fold of all of these."""
    first, second, *_ = items_of(table)
    newer = {**first, "total": {"N": "12.50"}, "tags": {"NS": ["3", "1E1"]}}
    table.clients.dynamodb.put_item(TableName=table.names.table, Item=newer)
    change(table, newer, 1)
    table.clients.dynamodb.delete_item(TableName=table.names.table, Key={"receiptId": second["receiptId"]})
    change(table, second, 2, "REMOVE")
    certificate = certified(table, method)
    assert certificate.equal, "\n".join(certificate.lines())
    assert (certificate.items, certificate.rows, certificate.reread) == (ITEMS - 1, ITEMS - 1, 0)
    assert certificate.note().startswith(f"{table.names.table}: 299 items compared, 0 differences (by {method} as of ")
    assert load_certificate(table) == certificate
    check_certificates({table.names.table: certificate})
    fold(table, now_ms())
    compared(table, method, "again")
    with pytest.raises(SettingsError, match="compared by another run in the meantime"):
        settle_doubts(table, run="certify", target_minutes=0)
    assert settle_doubts(table, run="again", target_minutes=0).equal


@pytest.mark.parametrize("method", ["scan", "export"])
def test_every_difference_is_named_by_key(table: Table, method: str) -> None:
    """A lost change, a flipped digit, a missing removal, a lost insertion; and only these."""
    lost, flipped, removed, *_ = items_of(table)
    table.clients.dynamodb.put_item(TableName=table.names.table, Item={**lost, "lost": {"S": "never landed"}})
    digits = flipped["total"]["N"]
    other = digits[:-1] + str((int(digits[-1]) + 1) % 10)
    change(table, {**flipped, "total": {"N": other}}, 1, ago=2 * SKEW_MS)
    table.clients.dynamodb.delete_item(TableName=table.names.table, Key={"receiptId": removed["receiptId"]})
    table.clients.dynamodb.put_item(TableName=table.names.table, Item={**lost, "receiptId": {"S": "new\n" * 99}})
    compared(table, method)
    with pytest.raises(NotReadyError, match="4 of 4 items that were read again differ so far"):
        settle_doubts(table, run="certify", target_minutes=15)
    with pytest.raises(NotReadyError):
        settle_doubts(table, run="certify", target_minutes=0, conclude=False)
    certificate = settle_doubts(table, run="certify", target_minutes=0)
    assert (certificate.missing, certificate.extra, certificate.different) == (1, 1, 2)
    assert certificate.differences == 4
    keys = {d.key: (d.kind, d.attributes) for d in certificate.named}
    assert keys.pop(key_text(lost)) == ("different", ("lost",))
    assert keys.pop(key_text(flipped)) == ("different", ("total",))
    assert keys.pop(key_text(removed)) == ("extra", ())
    ((new, found),) = keys.items()
    assert found == ("missing", ())
    assert "\n" not in new
    assert len(new) < 200
    assert load_certificate(table) == certificate
    with pytest.raises(AlarmError, match="4 differences"):
        check_certificates({table.names.table: certificate})


def key_text(item: Item) -> str:
    return f"receiptId={item['receiptId']['S']!r}"


def test_items_that_change_in_the_meantime_do_not_differ(table: Table) -> None:
    """They are in doubt until the change that was read has landed; even if others have followed it by then."""
    first, second, third, *_ = items_of(table)
    put, name = table.clients.dynamodb.put_item, table.names.table
    put(TableName=name, Item={**first, "version": {"N": "1"}})
    put(TableName=name, Item={**second, "version": {"N": "1"}})
    table.clients.dynamodb.delete_item(TableName=name, Key={"receiptId": third["receiptId"]})
    compared(table, "scan")
    put(TableName=name, Item={**second, "version": {"N": "2"}})
    with pytest.raises(NotReadyError, match="3 of 3"):
        settle_doubts(table, run="certify", target_minutes=15)
    put(TableName=name, Item={**second, "version": {"N": "3"}})
    change(table, {**first, "version": {"N": "1"}}, 1)
    with pytest.raises(NotReadyError, match="2 of 3"):
        settle_doubts(table, run="certify", target_minutes=15)
    for sequence in (2, 3, 4):
        change(table, {**second, "version": {"N": str(sequence - 1)}}, sequence)
    change(table, third, 5, "REMOVE")
    certificate = settle_doubts(table, run="certify", target_minutes=15)
    assert certificate.equal
    assert certificate.reread == 3


def test_too_many_doubts_are_counted_and_not_read_again(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the lake was read again in vain. All differences count."""
    monkeypatch.setattr(compare, "MOST_DOUBTS", 2)
    lost = items_of(table)[:5]
    for item in lost:
        table.clients.dynamodb.put_item(TableName=table.names.table, Item={**item, "lost": {"BOOL": True}})
    plan_backfill(table, "certify", BackfillOptions(method="scan"))
    waits: list[float] = []
    said: list[str] = []
    compare_items(table, run="certify", sleep=waits.append, say=said.append)
    assert waits == [compare.PAUSE_SECONDS] * (compare.ATTEMPTS - 1)
    certificate = settle_doubts(table, run="certify", target_minutes=0)
    assert (certificate.different, certificate.unread, certificate.reread, len(certificate.named)) == (5, 3, 2, 2)
    assert "3 too many to read again" in certificate.note()


def test_a_comparison_is_made_once(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """A retry of the task reads nothing again."""
    compared(table, "scan")
    monkeypatch.setattr(compare, "read_segment", lambda *args, **more: pytest.fail("read again"))
    assert compare_items(table, run="certify").items == ITEMS
