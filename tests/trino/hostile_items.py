"""Items that are hard to store: every type of DynamoDB, 38 digits, names that collide, types that change.

A phase takes each attribute's values up to its own number, so that each phase brings new types.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from tests.trino.source_table import Item, Value


def s(value: str) -> Value:
    return {"S": value}


def n(value: object) -> Value:
    return {"N": str(value)}


def l(*values: Value) -> Value:  # noqa: E743
    return {"L": list(values)}


def m(**fields: Value) -> Value:
    return {"M": fields}


NULL: Value = {"NULL": True}
TRUE: Value = {"BOOL": True}
FALSE: Value = {"BOOL": False}

DIGITS = "12345678901234567890123456789012345678"
FRACTION = "0.12345678901234567890123456789012345678"
MANY = {str(number): n(number) for number in range(101)}

VALUES: dict[str, list[Value]] = {
    # names
    "userid": [s("lower"), s("é 📅 𝄞")],
    "USERID": [n(7)],
    "UserId": [s("camel"), n(1), NULL],
    "user_id": [TRUE],
    "a.b": [m(c=n(1)), m(c=n("1.5"))],
    "a": [m(**{"b": n(1), "B": n(2), "b.c": s("x"), "": s("no name")})],
    'say "hi"': [s("\"quoted\" 'once' \\ \u2028 \x00 \t\r\n")],
    "it's; DROP TABLE": [n("-0.5")],
    "back\\slash/~": [{"SS": ["b", "a", "é", "📅"]}],
    "🎉": [TRUE, FALSE],
    " ": [n(3), s("blank")],
    "2019": [s("a year"), m(**{"05": n(1)})],
    "007": [n(7)],
    "x" * 60_000: [{"BS": [b"\x00", b"\xff"]}],
    "select": [s("reserved")],
    "dt": [s("19700101")],
    "__deleted": [s("no")],
    "__other": [m(x=n(1)), s("other")],
    "__types": [s("B")],
    "___types": [n(4)],
    "__key": [s("key")],
    "__operation": [s("REMOVE")],
    "_file": [s("f")],
    "the item": [n(9)],
    # types
    "count": [n(0), n(2**63 - 1), n("1.5"), n(DIGITS), n("9.9999999999999999999999999999999999999E+125")],
    "price": [n("0.1"), n("-1E-130"), n(7), n(FRACTION), n(f"-{DIGITS}")],
    "exact": [n("12345678901234567890.123456789012345678"), n("-0.000000001"), n(2**63)],
    "money": [n("19.99"), n("123456789012345.67"), s("free"), n("20.00")],
    "name": [s(""), s("null"), s("1.0"), s("[1]"), n("1"), NULL],
    "flag": [TRUE, FALSE, s("true"), n(0)],
    "nothing": [NULL, NULL, l(NULL), n(1)],
    "binary": [{"B": b""}, {"B": bytes(range(256))}, s("AAECAw=="), {"B": b"\x00\x01\x02\x03"}],
    "labels": [{"SS": ["y", "x", ""]}, l(s("x"), s("y")), {"SS": ["1"]}],
    "sizes": [{"NS": ["1", "-2.5", "10"]}, l(n(1)), {"NS": [DIGITS, FRACTION, "1E+100"]}],
    "blobs": [{"BS": [b"\xff\xfe", b"a", b"\x00"]}, l({"B": b"a"}), {"BS": [b"z"]}],
    "tags": [l(), l(n(1), NULL), l(n("0.5")), l(s("x")), l(m(k=NULL))],
    "empty": [m(), l(), s("")],
    "lines": [
        l(m(sku=s("a"), price=n("0.1")), m(sku=s("b"), gone=NULL)),
        l(m(sku=s("c"), **{"2": m(**{"1": n(1)})})),
        l(m(sku=n(5), parts={"NS": ["2", "1"]}), NULL),
        l(l(m(sku=s("d"))), m()),
    ],
    "deep": [
        m(l=l(l(m(x=l(n(1)))), l()), m=m(**{"1": m(**{"2": m(**{"3": TRUE})})})),
        m(l=l(l(m(x=l(n("1.5"), NULL)))), B={"B": b"deep"}, b=n(1)),
        m(l=s("not a list"), m=m(**{"1": m(**{"2": NULL})})),
    ],
    "scores": [{"M": MANY}, m(**{"5": n("1.5"), "x": NULL}), {"M": {**MANY, "é": n(DIGITS)}}, m(k=s("x"))],
    "mixed": [n(1), s("1"), TRUE, l(n(1), s("x"), NULL), m(a=NULL, b={"SS": ["b", "a"]}), {"B": b"1"}, {"NS": ["1"]}],
    "updatedAt": [n(1558778400), n("1558778400.123"), s("2019-05-25T10:00:00Z")],
}

PHASES = 4

USERS = ("a", "a!", "~ä 📅")
TIMES = ("1", "1.5", "-9E+100", DIGITS, FRACTION, "-1E-130")
DECIMAL_KEYS: list[Item] = [{"userId": s(user), "at.Time": n(time)} for user in USERS for time in TIMES]
BINARY_KEYS: list[Item] = [
    {"Bin": {"B": first}, "sort key": {"B": last}}
    for first in (b"\x00", b"a", b"\xff\xfe")
    for last in (b"!", b"~\x80")
]


def hostile_item(order: random.Random, key: Item, phase: int) -> Item:
    """Make an item with this key and some attributes, with values of the types up to `phase`."""
    names = order.sample(sorted(VALUES), order.randint(0, len(VALUES) // 2))
    item = {name: order.choice(_values(name, phase)) for name in names if len(name) < 1000 or order.random() < 0.2}
    return {**item, **key}


def every_value(keys: list[Item]) -> Iterator[Item]:
    """Make items that together have each value once, the latest types last."""
    for place in range(max(map(len, VALUES.values()))):
        item = {name: values[place] for name, values in VALUES.items() if place < len(values)}
        yield {**item, **keys[place % len(keys)]}


def _values(name: str, phase: int) -> list[Value]:
    values = VALUES[name]
    return values[: 1 + (len(values) - 1) * phase // PHASES]
