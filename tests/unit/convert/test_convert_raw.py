"""Streams of any kind as lines of one value each, and lines that are not change records."""

from __future__ import annotations

import gzip
import io
import json
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dynalake.convert.read import raw
from dynalake.convert.read.raw import BadLine, BrokenObject, decode, parse_line, stream_lines
from dynalake.convert.read.records import RecordParser, is_types_text, kind_of, types_text
from dynalake.record.attribute import AMBIGUOUS_TYPES
from dynalake.record.key import ItemKey, KeyAttribute

pytestmark = pytest.mark.slow

KEY = ItemKey(KeyAttribute("id", "S"), KeyAttribute("n", "N"))
HEAD = '"__operation":"INSERT","__sequence_number":"' + "0" * 40 + '","__event_time":1'

VALUES = st.recursive(
    st.one_of(st.none(), st.integers(), st.text(st.sampled_from('}{\\"[],: \tn\n\u00e4'), max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(st.sampled_from('}{\\" a'), max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


class Slow(io.BytesIO):
    """A stream that returns a few bytes at a time, so that boundaries are everywhere."""

    def __init__(self, data: bytes, most: int) -> None:
        super().__init__(data)
        self._most = most

    def read(self, amount: int | None = -1, /) -> bytes:
        return super().read(min(amount if amount is not None and amount >= 0 else self._most, self._most))


@given(
    st.lists(st.tuples(st.dictionaries(st.text(max_size=3), VALUES), st.sampled_from(["", " ", "\t\r", "\n", "\r\n"]))),
    st.booleans(),
    st.integers(1, 64),
)
@example([({"a": '\\"}{'}, ""), ({"b": "}{"}, ""), ({}, "")], False, 1)
def test_values_become_lines_whatever_separates_them(
    values: list[tuple[dict[str, Any], str]], packed: bool, most: int
) -> None:
    text = "".join(json.dumps(value, ensure_ascii=False) + between for value, between in values).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(raw, "_CHUNK", 8)
        lines = list(stream_lines(Slow(gzip.compress(text) if packed else text, most)))
    assert [json.loads(line) for line in lines] == [value for value, _ in values]


def test_a_large_object_without_a_line_break_is_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw, "LONGEST_LINE", 2 << 20)
    value = json.dumps({"a": "}{" * 50, "b": "x" * 1000}).encode()
    count = (8 << 20) // len(value)
    assert list(stream_lines(io.BytesIO(gzip.compress(value * count)))) == [value] * count


def test_the_rest_after_a_line_that_is_too_long_is_lost_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw, "LONGEST_LINE", 2 << 20)
    good, long = b'{"a":1}\n', b'{"a":"' + b"x" * (5 << 20) + b'"}\n'
    lines: list[bytes] = []
    with pytest.raises(BrokenObject, match="a line is longer") as error:
        lines.extend(stream_lines(io.BytesIO(good + long + good)))
    assert lines == [good.strip()]
    assert error.value.at == len(good)


@pytest.mark.parametrize("packed", [False, True])
def test_a_byte_order_mark_is_skipped(packed: bool) -> None:
    text = b'\xef\xbb\xbf{"a":1}\n{"b":2}\n'
    lines = list(stream_lines(io.BytesIO(gzip.compress(text) if packed else text)))
    assert lines == [b'{"a":1}', b'{"b":2}']
    assert list(stream_lines(io.BytesIO(b'\xef\xbb\xbf{"a":1}{"b":2}'))) == lines
    # Only there: elsewhere it is not JSON.
    assert list(stream_lines(io.BytesIO(b'{"a":1}\n\xef\xbb\xbf{"b":2}'))) == [lines[0], b"\xef\xbb\xbf" + lines[1]]


def test_the_loss_of_a_corrupt_object_is_known() -> None:
    whole = bytearray(gzip.compress(bytes(range(256)) * 40_000 + bytes(json.dumps(list(range(400_000))), "ascii")))
    half = len(whole) // 2
    whole[half : half + 50] = b"\xff" * 50
    with pytest.raises(BrokenObject, match="corrupt") as error:
        list(stream_lines(io.BytesIO(bytes(whole))))
    assert half - 10 <= error.value.at <= half + 100_000
    with pytest.raises(BrokenObject, match="cut short") as error:
        list(stream_lines(io.BytesIO(bytes(whole[: half - 100]))))
    assert error.value.at == half - 100


def nested(levels: int) -> bytes:
    return b'{"a":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


def test_the_depth_of_a_line_is_bounded() -> None:
    wide = ",".join('{"b":[{}]}' for _ in range(100))
    assert parse_line(f'{{"a":[{wide}],"c":"{"[" * 200}"}}'.encode())
    assert parse_line(nested(64))
    for levels in (65, 250, 400, 900, 5000, 100_000):
        with pytest.raises(BadLine, match="nested deeper than 64 levels"):
            parse_line(nested(levels))


def test_exponents_are_bounded_and_none_becomes_0() -> None:
    assert parse_line(b'{"a":1e1000000,"b":-2.50E-999999,"c":0e5}') == {
        "a": Decimal("1e1000000"),
        "b": Decimal("-2.50E-999999"),
        "c": Decimal(0),
    }
    for number in ("1e1000001", "1e-1000001", "-1e1000000000000000000", "1e-10000000000000000000", "0e9999999"):
        with pytest.raises(BadLine, match="exponent"):
            parse_line(f'{{"a":[{number}]}}'.encode())


def test_half_of_a_surrogate_pair_is_accepted_only_in_values() -> None:
    parse = RecordParser(KEY)
    line = f'{{{HEAD},"id":"a","n":1,"t":"x\\ud800","m":{{"\\udfff":["\\ud83d\\ude00"]}}}}'.encode()
    record = parse(line)
    assert record is not None
    assert (record.values["t"], record.values["m"]) == ("x\ud800", {"\udfff": ["😀"]})
    with pytest.raises(BadLine, match="key attribute 'id' has half"):
        parse(f'{{{HEAD},"id":"\\ud800","n":1}}'.encode())
    with pytest.raises(BadLine, match="attribute's name has half"):
        parse(f'{{{HEAD},"id":"a","n":1,"\\ud800":1}}'.encode())


def test_reasons_are_counted_by_kind() -> None:
    reasons: list[str] = []
    parse = RecordParser(KEY)
    head = '"__operation":"INSERT"'
    for n in range(20):
        for line in (
            f'{{"__operation":"{n}"}}',
            f'{{{head},"__sequence_number":"{n}"}}',
            f'{{{head},"__sequence_number":"{"0" * 40}","__event_time":"{n}"}}',
            f'{{{head},"__sequence_number":"{"0" * 40}","__event_time":1,"__expired":{n}}}',
            f'{{{head},"__sequence_number":"{"0" * 40}","__event_time":1,"__types":{{"/a":"{n}"}}}}',
            f'{{{HEAD},"id":{n}}}',
            f'{{{HEAD},"id":"{"x" * 1000}","n":"{n}"}}',
            f"{{{n}",
            f'{{"a{n}":1,"a{n}":1}}',
        ):
            with pytest.raises(BadLine) as error:
                parse(line.encode())
            reasons.append(str(error.value))
    kinds = Counter(map(kind_of, reasons))
    assert set(kinds.values()) == {20}
    assert len(kinds) == 9
    assert max(map(len, reasons)) < 150


PATHS = st.text(st.sampled_from('ab:,{}"\\/\u00e9 \x1f\n'), max_size=4)
TYPES_OF = st.lists(st.tuples(PATHS, st.sampled_from([*AMBIGUOUS_TYPES, "S", "", "b"])), max_size=3)


@given(TYPES_OF, st.booleans(), st.sampled_from(["", " ", ",", "}"]))
def test_a_text_of_types_is_valid_if_it_is_written_as_they_are(
    types: list[tuple[str, str]], escaped: bool, more: str
) -> None:
    pairs = (f"{json.dumps(path, ensure_ascii=escaped)}:{json.dumps(kind)}" for path, kind in types)
    text = f"{{{','.join(pairs)}}}{more}"
    try:
        expected = types_text(decode(text)) == text
    except ValueError:
        expected = False

    assert is_types_text(text) == expected
