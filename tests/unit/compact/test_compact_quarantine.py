"""What cannot be read: set aside with its reason and counted, never lost and never in the way of the rest."""

from __future__ import annotations

import gzip
import json
import random
from dataclasses import replace
from typing import Any

import pytest

from dynalake.clients import Clients
from dynalake.compact.convert import compact_day
from dynalake.compact.manifest import read_manifest
from dynalake.compact.plan import list_day
from dynalake.convert.options import CompactOptions
from dynalake.convert.read.exact import read_exactly
from dynalake.convert.read.raw import RawObject
from dynalake.errors import LedgerError, QuarantineError
from tests.unit.compact.lake import TestLake
from tests.unit.compact.test_compact_flow import DAY, NEXT, A, rows


@pytest.fixture(autouse=True, params=["exact", "compiled"])
def reader(request: pytest.FixtureRequest, lake: TestLake, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each test with both readers, of which the other is not there: the compiled one must not leave it to the exact."""
    if request.param == "compiled":
        lake.options = CompactOptions(compiled_from_mb=0)
        monkeypatch.setattr("dynalake.compact.convert.read_exactly", None)
    return str(request.param)


def noise(lines: list[str]) -> bytes:
    """Lines that gzip cannot make much smaller, so that a cut in the middle leaves some of them."""
    dice = random.Random(5)
    return "".join(f'{line[:-1]},"x":"{dice.randbytes(300).hex()}"}}\n' for line in lines).encode()


def truncated(lines: list[str]) -> bytes:
    whole = gzip.compress(noise(lines))
    return whole[: len(whole) // 2]


def corrupt(lines: list[str]) -> bytes:
    whole = bytearray(gzip.compress(noise(lines)))
    whole[len(whole) // 2 : len(whole) // 2 + 40] = b"\xff" * 40
    return bytes(whole)


def bad_checksum(lines: list[str]) -> bytes:
    whole = bytearray(gzip.compress(noise(lines)))
    whole[-8] ^= 1
    return bytes(whole)


def second_member_cut(lines: list[str]) -> bytes:
    half = len(lines) // 2
    return gzip.compress(noise(lines[:half])) + truncated(lines[half:])


def with_line(line: bytes) -> Any:
    return lambda lines: gzip.compress(f"{lines[0]}\n".encode() + line + b"\n" + f"{lines[1]}\n".encode())


@pytest.mark.parametrize(
    ("make", "reason", "lost"),
    [
        (truncated, "gzip is cut short", None),
        (bad_checksum, "gzip is corrupt", 0),
        (second_member_cut, "gzip is cut short", None),
        (with_line(b"\x1f\x8b\x00 no gzip inside"), "not UTF-8", 198),
        (with_line(b'"text"'), "not a JSON object but str", 198),
        (with_line(b"[]"), "not a JSON object but list", 198),
        (with_line(b"null"), "not a JSON object but NoneType", 198),
        (with_line(b'{"__operation":"INSERT"'), "not JSON", 198),
        (with_line(b'{"id":"\xff"}'), "not UTF-8", 198),
        (with_line(b'{"id":NaN}'), "NaN is no JSON number", 198),
        (with_line(b"\x00"), "not JSON", 198),
    ],
)
def test_the_rest_of_the_day_is_converted(lake: TestLake, make: Any, reason: str, lost: int | None) -> None:
    lines = lake.lines([{**A, "n": {"N": str(n)}} for n in range(200)])
    bad = lake.put(DAY, "bad.gz", make(lines))
    lake.put(DAY, "good.gz", lake.lines([{**A, "n": {"N": "1000"}}]))
    (done,) = lake.convert(NEXT)
    assert (done.quarantined, list(done.reasons.values())) == (1, [1])
    assert next(iter(done.reasons)).startswith(reason)
    assert done.lines == done.rows + done.duplicates + done.canaries + done.quarantined
    assert done.rows >= 2
    if lost is not None:
        assert done.rows == 201 - lost
    manifest = read_manifest(lake.clients, lake.names, done.manifest)
    assert manifest.reasons == done.reasons
    (entry,) = [json.loads(line) for line in lake.body(manifest.quarantine).splitlines()]
    assert entry["object"] == bad
    assert entry["reason"].startswith(reason)
    assert entry["line"] >= 1


def test_what_comes_out_of_a_corrupt_object_before_the_error_is_read_or_rejected(lake: TestLake) -> None:
    """Some of it may be garbage, line by line; at the end stands that the object is corrupt."""
    lines = lake.lines([{**A, "n": {"N": str(n)}} for n in range(200)])
    lake.put(DAY, "bad.gz", corrupt(lines))
    lake.options = replace(lake.options, max_quarantined=200)
    (done,) = lake.convert(NEXT)
    assert done.reasons["gzip is corrupt"] == 1
    assert done.quarantined == sum(done.reasons.values())
    assert done.rows >= 50


def test_plain_text_named_gz_is_read(lake: TestLake) -> None:
    lake.put(DAY, "plain.gz", "".join(f"{line}\n" for line in lake.lines([A, A])).encode())
    (done,) = lake.convert(NEXT)
    assert (done.rows, done.quarantined, done.reasons) == (2, 0, {})


def test_an_object_deleted_after_it_was_listed_is_counted_and_looked_at_again(
    lake: TestLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.put(DAY, "1.gz", lake.lines([A]))
    gone = RawObject(lake.names.raw_day(DAY) + "gone.gz", "0" * 32, 10)
    with monkeypatch.context() as listing:
        listed = list_day(lake.clients, lake.names, DAY)
        listing.setattr("dynalake.compact.convert.list_day", lambda *_: [*listed, gone])
        done = compact_day(lake.clients, lake.names, DAY, lake.options)
    assert (done.rows, done.quarantined) == (1, 1)
    assert done.reasons == {"the object was deleted after it was listed": 1}
    # Its inputs are not what lies there: the next run converts the day again, without the loss.
    (again,) = lake.convert(NEXT)
    assert (again.rows, again.quarantined) == (1, 0)


def test_the_error_says_how_much_for_what(lake: TestLake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which lines, of very many, only the exact reader says."""
    monkeypatch.setattr("dynalake.compact.convert.read_exactly", read_exactly)
    lake.put(DAY, "1.gz", [*lake.lines([A]), *["broken"] * 5])
    with pytest.raises(QuarantineError, match=r"More than 2 lines of RECEIPTS on 20240101.*not JSON"):
        compact_day(lake.clients, lake.names, DAY, replace(lake.options, max_quarantined=2))


@pytest.mark.parametrize("file_format", ["parquet", "orc"])
def test_rows_that_are_not_in_the_files_fail_the_conversion(
    lake: TestLake, monkeypatch: pytest.MonkeyPatch, file_format: str
) -> None:
    """What is counted is what the footers in S3 say, not what was meant to be written."""
    lake.options = replace(lake.options, format=file_format)
    lake.put(DAY, "1.gz", lake.lines([{**A, "n": {"N": str(n)}} for n in range(3)]))
    shorter = TestLake(lake.clients, lake.names, lake.options)
    lake.put("20240102", "1.gz", shorter.lines([A]))
    short = compact_day(lake.clients, lake.names, "20240102", lake.options)
    (part,) = read_manifest(lake.clients, lake.names, short.manifest).parts
    body = lake.body(part.key)
    upload = lake.clients.s3.upload_file

    def lose(path: str, bucket: str, key: str, *rest: Any, **more: Any) -> None:
        upload(path, bucket, key, *rest, **more)
        lake.clients.s3.put_object(Bucket=bucket, Key=key, Body=body)

    monkeypatch.setattr(lake.clients.s3, "upload_file", lose)
    monkeypatch.setattr("pathlib.Path.stat", _with_size(len(body)))
    with pytest.raises(LedgerError, match="3 lines in, but 1 rows by the files' footers"):
        compact_day(lake.clients, lake.names, DAY, lake.options)
    assert rows_published(lake.clients, lake) == 0


def _with_size(size: int) -> Any:
    from pathlib import Path

    stat = Path.stat

    class Sized:
        def __init__(self, real: Any) -> None:
            self._real = real
            self.st_size = size

        def __getattr__(self, name: str) -> Any:
            return getattr(self._real, name)

    def sized(self: Path, **more: Any) -> Any:
        found = stat(self, **more)
        return Sized(found) if self.name.startswith("part-") else found

    return sized


def rows_published(clients: Clients, lake: TestLake) -> int:
    from dynalake.catalog.partitions import list_partitions

    return sum(len(rows(lake, day)) for day in list_partitions(clients, lake.names, lake.names.typed_table))
