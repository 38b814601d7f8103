"""Hypothesis strategies: any DynamoDB item together with the expected Python value of its JSON."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

Pair = tuple[dict[str, Any], Any]
"""An attribute value and the expected result of `json.loads(…, parse_int=Decimal, parse_float=Decimal)`."""

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NAMES = st.one_of(
    TEXT.filter(bool),
    st.sampled_from(
        (
            *("a.b", 'qu"ote', "sp ace", "ÄÖ", "id", "ID", "\u0000", "\u2028", "_", "_operation", "__operations"),
            *("__operation", "___operation", "__sequence_number", "__event_time", "__expired", "__types", "__other"),
            *("a/b", "a~b", "~1", "/", "0", "1"),
        )
    ),
)


def ambiguous(values: dict[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """Return the paths of binary values and sets in the form of RFC 6901, by name."""
    for name, value in sorted(values.items()):
        yield from paths(value, path + "/" + name.replace("~", "~0").replace("/", "~1"))


def paths(value: dict[str, Any], path: str) -> Iterator[tuple[str, str]]:
    ((kind, content),) = value.items()
    if kind in ("B", "SS", "NS", "BS"):
        yield path, kind
    elif kind == "M":
        yield from ambiguous(content, path)
    elif kind == "L":
        for number, member in enumerate(content):
            yield from paths(member, f"{path}/{number}")


@st.composite
def numbers(draw: st.DrawFn) -> str:
    """Draw a number as DynamoDB may return it: up to 38 digits, 1E-130 to 9.99E+125, negative zero too."""
    digits = draw(st.from_regex(r"\A(0|[1-9][0-9]{0,37})\Z"))
    point = draw(st.integers(0, len(digits) - 1))
    text = f"{digits[:point]}.{digits[point:]}" if point else digits
    if draw(st.booleans()):
        text += draw(st.sampled_from(["E", "e"])) + str(draw(st.integers(-130, 88)))
    return draw(st.sampled_from(["", "-"])) + text


def _leaf(smallest_set: int = 0) -> st.SearchStrategy[Pair]:
    return st.one_of(
        TEXT.map(lambda text: ({"S": text}, text)),
        numbers().map(lambda text: ({"N": text}, Decimal(text))),
        st.binary(max_size=20).map(lambda data: ({"B": data}, b64encode(data).decode())),
        st.booleans().map(lambda flag: ({"BOOL": flag}, flag)),
        st.just(({"NULL": True}, None)),
        st.lists(TEXT, unique=True, min_size=smallest_set, max_size=5).map(
            lambda texts: ({"SS": texts}, sorted(texts))
        ),
        st.lists(numbers(), unique_by=Decimal, min_size=smallest_set, max_size=5).map(
            lambda texts: ({"NS": texts}, sorted(map(Decimal, texts)))
        ),
        st.lists(st.binary(max_size=9), unique=True, min_size=smallest_set, max_size=5).map(
            lambda datas: ({"BS": datas}, sorted(b64encode(data).decode() for data in datas))
        ),
    )


def _nested(inner: st.SearchStrategy[Pair]) -> st.SearchStrategy[Pair]:
    return st.one_of(
        st.lists(inner, max_size=4).map(lambda pairs: ({"L": [p[0] for p in pairs]}, [p[1] for p in pairs])),
        st.dictionaries(NAMES, inner, max_size=4).map(
            lambda pairs: ({"M": {k: p[0] for k, p in pairs.items()}}, {k: p[1] for k, p in pairs.items()})
        ),
    )


VALUES: st.SearchStrategy[Pair] = st.recursive(_leaf(), _nested, max_leaves=12)
ITEMS: st.SearchStrategy[dict[str, Pair]] = st.dictionaries(NAMES, VALUES, max_size=6)

# What DynamoDB itself stores: no empty set, and at most 32 levels.
LEVELS = 32


@st.composite
def deep_values(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a value inside of up to 31 lists and maps."""
    value = draw(_leaf(1))[0]
    for _ in range(draw(st.integers(0, LEVELS - 1))):
        value = {"L": [value]} if draw(st.booleans()) else {"M": {draw(NAMES): value}}
    return value


STORABLE: st.SearchStrategy[dict[str, dict[str, Any]]] = st.dictionaries(
    NAMES,
    st.one_of(st.recursive(_leaf(1), _nested, max_leaves=12).map(lambda pair: pair[0]), deep_values()),
    max_size=6,
)
