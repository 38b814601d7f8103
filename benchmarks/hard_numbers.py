"""1,000 numbers that DynamoDB holds and that software often changes, and how many of them come through."""

from __future__ import annotations

import json
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from random import Random
from typing import Any

COUNT = 1000


def hard_numbers() -> list[str]:
    """Return the numbers, always the same: a fifth each of five kinds, in the form in which DynamoDB returns them.

    Integers beyond a double's 2^53 and within 64 bits; integers of 20 to 38 digits; decimals of 16 to 38 digits;
    prices of nine digits, which a double keeps; and numbers near the ends of DynamoDB's range (1E-130, 9.99E+125).
    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html
    """
    random = Random(38)
    numbers: list[str] = []
    while len(numbers) < COUNT:
        sign = random.choice(("", "-"))
        whole, exact = random.randint(20, 38), random.randint(16, 38)
        point = random.randrange(1, exact)
        fraction = _digits(random, exact)
        numbers += [
            f"{sign}{random.randrange(2**53 + 1, 2**63, 2)}",
            f"{sign}{_digits(random, whole)}",
            f"{sign}{fraction[:point]}.{fraction[point:]}",
            f"{sign}{random.randrange(1, 10**7)}.{random.randrange(1, 10)}{random.randrange(1, 10)}",
            f"{sign}{random.randrange(1, 10)}.{_digits(random, 5)}E{random.choice(('-125', '+125', '-90', '+90'))}",
        ]
    return numbers


def kept(numbers: Iterable[str], texts: Iterable[str]) -> dict[str, int]:
    """Return how many of `numbers` came through, by the JSON text that each became (empty: it was refused).

    `exact`: the same number, as a JSON number; `as_text`: the same number, but as a string; `changed`: another one.
    """
    counts = {"exact": 0, "as_text": 0, "changed": 0, "refused": 0}
    for number, text in zip(numbers, texts, strict=True):
        counts[_verdict(number, text)] += 1
    return counts


def number_text(line: str, name: str = "n") -> str:
    """Return the JSON text of the attribute `name` in a line of JSON, digit for digit."""
    value: Any = json.loads(line, parse_int=_Digits, parse_float=_Digits, parse_constant=_Digits)[name]
    return str(value) if isinstance(value, _Digits) else json.dumps(value)


class _Digits(str):
    """The text of a number."""


def _verdict(number: str, text: str) -> str:
    if not text:
        return "refused"
    value: Any = json.loads(text, parse_int=Decimal, parse_float=Decimal, parse_constant=str)
    try:
        same = Decimal(value) == Decimal(number)
    except InvalidOperation:
        same = False
    if not same:
        return "changed"
    return "as_text" if isinstance(value, str) else "exact"


def _digits(random: Random, count: int) -> str:
    inner = "".join(random.choice("0123456789") for _ in range(count - 2))
    return f"{random.randrange(1, 10)}{inner}{random.randrange(1, 10)}"
