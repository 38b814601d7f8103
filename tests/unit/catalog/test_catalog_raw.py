"""Streams of lines, whole and broken, and lines parsed with every digit."""

from __future__ import annotations

import gzip
import io
from decimal import Decimal

import pytest

from dynalake.catalog.discover import plan_sample
from dynalake.convert.read.raw import BadLine, BrokenObject, RawObject, parse_line, stream_lines

LINES = [b'{"a":%d}' % i for i in range(50_000)]
TEXT = b"\n".join(LINES) + b"\n"


@pytest.mark.parametrize(
    "data",
    [
        TEXT,
        TEXT[:-1],
        gzip.compress(TEXT),
        gzip.compress(TEXT[:1000]) + gzip.compress(TEXT[1000:]),
        gzip.compress(TEXT) + b"\0" * 64,
        TEXT.replace(b"\n", b"\r\n\n"),
    ],
    ids=["plain", "no last line break", "gzip", "two members", "padded", "blank lines"],
)
def test_lines_come_whole(data: bytes) -> None:
    assert [line.strip() for line in stream_lines(io.BytesIO(data))] == LINES


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (gzip.compress(TEXT)[:-20], "cut short"),
        (gzip.compress(TEXT)[:-4], "cut short"),
        (gzip.compress(TEXT)[:9000] + b"\xff" * 50 + gzip.compress(TEXT)[9050:], "corrupt"),
        (gzip.compress(TEXT) + b"garbage", "corrupt"),
    ],
)
def test_a_broken_object_gives_the_lines_before_the_break(data: bytes, reason: str) -> None:
    lines: list[bytes] = []
    with pytest.raises(BrokenObject, match=reason):
        lines.extend(stream_lines(io.BytesIO(data)))
    assert len(lines) > 1000
    # Damage within a gzip member may be noticed only some lines later.
    assert lines[:1000] == LINES[:1000]


def test_an_empty_object_has_no_lines() -> None:
    assert list(stream_lines(io.BytesIO(b""))) == []
    assert list(stream_lines(io.BytesIO(gzip.compress(b"")))) == []


def test_every_digit_is_kept() -> None:
    line = b'{"a":1180591620717411303424,"b":1234567890123456789012345678.9012345678,"c":1.50,"d":1E-130}'
    assert parse_line(line) == {
        "a": 2**70,
        "b": Decimal("1234567890123456789012345678.9012345678"),
        "c": Decimal("1.50"),
        "d": Decimal("1E-130"),
    }


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"[1]", "not a JSON object but list"),
        (b"hello", "not JSON"),
        (b'{"a":1', "not JSON"),
        (b'{"a":NaN}', "NaN"),
        (b'{"a":{"b":1,"b":2}}', "twice"),
        (b'{"a":"\xff"}', "not UTF-8"),
        (rb'{"a":"\ud800"}', "surrogate"),
        (b'{"a":' + b"[" * 100_000, "nested deeper than 64 levels"),
        (b'{"a":' + b"1" * 5000 + b"}", "not JSON"),
    ],
)
def test_what_is_no_record_says_why(line: bytes, reason: str) -> None:
    with pytest.raises(BadLine, match=reason):
        parse_line(line)


def test_a_sample_is_bounded_and_has_the_newest() -> None:
    found = [RawObject(f"k{i:03d}", "", 1, modified=i) for i in range(100)]
    sample = plan_sample(found, 8)
    assert len(sample) == len({o.key for o in sample}) == 8
    assert {o.key for o in found[-4:]} <= {o.key for o in sample}
    assert plan_sample(found[:3], 8) == found[:3]
