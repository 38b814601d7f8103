"""A day of a nested table → Parquet: orders with lists of 5 to 40 lines, each a map with a list in it."""

from __future__ import annotations

from random import Random

from benchmarks.changes import Shape, text_key
from benchmarks.convert import conversion
from infra.local.demo.receipts import Item, Value

_COLORS = ["amber", "blue", "coral", "dark", "emerald"]


def order(number: int, random: Random) -> Item:
    """Return an order without its key."""
    lines = [_line(random) for _ in range(random.randint(5, 40))]
    return {
        "customer": {"S": f"c{random.randrange(10_000):05d}"},
        "priority": {"BOOL": random.random() < 0.1},
        "total": {"N": f"{random.randrange(10**5)}.{random.randrange(1, 100):02d}"},
        "lines": {"L": lines},
    }


def _line(random: Random) -> Value:
    parts: list[Value] = [
        {"M": {"part": {"S": f"p-{random.randrange(10**5):05d}"}, "count": {"N": str(random.randint(1, 9))}}}
        for _ in range(random.randrange(4))
    ]
    fields: Item = {
        "sku": {"S": f"sku-{random.randrange(10**6):06d}"},
        "name": {"S": f"{random.choice(_COLORS)} {random.choice(_COLORS)} item"},
        "quantity": {"N": str(random.randint(1, 20))},
        "price": {"N": f"{random.randrange(1000)}.{random.randrange(1, 100):02d}"},
        "gift": {"BOOL": random.random() < 0.1},
        "discount": {"N": f"0.{random.randrange(1, 100):02d}"},
        "parts": {"L": parts},
    }
    return {"M": fields}


NESTED = Shape("NESTED", text_key("orderId"), 52_000, order, compared=("customer", "priority", "total", "lines"))

BENCHMARK = conversion("convert_nested", NESTED)
