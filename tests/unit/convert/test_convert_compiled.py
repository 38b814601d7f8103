"""What the compiled pass says of JSON texts, so that Python need not read each of them."""

from __future__ import annotations

import json
from decimal import Decimal
from itertools import accumulate
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dynalake.convert.read.compiled import scan
from dynalake.convert.read.records import is_types_text
from dynalake.lake.types.arrow import json_text
from dynalake.lake.types.union import observe
from dynalake.record.attribute import AMBIGUOUS_TYPES
from tests.support.values.json_values import VALUES

pytestmark = pytest.mark.slow

SECRET = np.uint64(0x9E3779B97F4A7C15)

PATHS = st.text(st.sampled_from("ab:,{}/é "), max_size=3)
KINDS = st.sampled_from(AMBIGUOUS_TYPES)


def pieces(texts: list[str]) -> tuple[Any, Any]:
    """Return the texts one behind the other, and where each is, as the pass has them."""
    encoded = [text.encode() for text in texts]
    starts = [0, *accumulate(map(len, encoded))]
    words = [start | len(text) << scan.LENGTH_BITS for start, text in zip(starts, encoded, strict=False)]
    return np.frombuffer(b"".join(encoded) + scan.PADDING, np.uint8), np.array(words, np.uint64)


def shapes(values: list[Any], *, behind: bool = False) -> list[int]:
    """Return the values' shapes; `behind`: where their texts are not in the lines, but behind them."""
    text, words = pieces([json_text(value) for value in values])
    line = np.frombuffer(scan.PADDING, np.uint8)
    if behind:
        return scan.shapes(line, text, words + np.uint64(len(line)), SECRET).tolist()  # type: ignore[no-any-return]
    return scan.shapes(text, line, words, SECRET).tolist()  # type: ignore[no-any-return]


@given(st.lists(VALUES, max_size=8), st.booleans())
@example([[9223372036854775807], [9223372036854775808], [-9223372036854775808], [9223372036854775810]], False)
@example([[[1], [2]], [[1, 2]], [[1], 2], {"a": [1], "b": 2}, {"a": [1, 2]}, {"a": 1, "b": [2]}], False)
@example([["a"], ["</"], ["\ud800"], ['"'], ["\\"], {'"': 1}, {"\\": 1}, {'"': "1"}], True)
def test_lists_and_maps_of_one_shape_have_one_type(values: list[Any], behind: bool) -> None:
    types: dict[int, Any] = {}
    for shape, value in zip(shapes(values, behind=behind), values, strict=True):
        assert bool(shape) == isinstance(value, list | dict)
        if shape:
            assert types.setdefault(shape, observe(value)) == observe(value)


def test_values_that_differ_only_in_what_types_do_not_keep_have_one_shape() -> None:
    alike = [{"a": 10, "b": "x", "c": [True, None]}, {"a": -99, "b": 'a longer "text"', "c": [False, None]}]
    assert len({*shapes(alike)}) == 1
    unlike = [{"a": 1}, {"a": Decimal("1.5")}, {"a": 100}, {"b": 1}, {"a": None}, {"a": "1"}, [1], []]
    assert len({*shapes(unlike)}) == len(unlike)


@given(st.lists(st.tuples(PATHS, KINDS), max_size=4), st.sampled_from(["", " ", "}"]))
def test_types_that_look_plain_are_valid(types: list[tuple[str, str]], more: str) -> None:
    text = "{" + ",".join(f"{json.dumps(p, ensure_ascii=False)}:{json.dumps(kind)}" for p, kind in types) + "}" + more
    array, words = pieces([text])

    plain = bool(scan.plain_types(array, words)[0])

    # An empty object is valid too, but nobody writes one: Python may read it.
    assert plain == (is_types_text(text) and bool(types))


@pytest.mark.parametrize("kind", ["S", "N", "", "BB", "SB", "SSS", "M", "b", "NULL"])
def test_types_of_another_kind_do_not_look_plain(kind: str) -> None:
    array, words = pieces([f'{{"/a":"SS","/b":"{kind}"}}', '{"/a":"SS","/b":1}', r'{"/\"":"SS"}', '{"/\x1f":"B"}'])
    assert not scan.plain_types(array, words).any()
