"""A day of a wide table → Parquet: 300 columns of four types, of which each item has half, at random."""

from __future__ import annotations

from random import Random

from benchmarks.changes import Shape, text_key
from benchmarks.convert import conversion
from infra.local.demo.receipts import Item, Value

COLUMNS = 300
_KINDS = ("text", "number", "text", "number", "flag", "text", "number", "text", "flag", "price")
_WORDS = ["amber", "basalt", "cedar", "delta", "ember", "fjord", "granite", "harbor", "indigo", "juniper"]


def wide_item(number: int, random: Random) -> Item:
    """Return an item without its key. Every tenth column has decimals; the others are texts, integers and booleans."""
    chosen = sorted(random.sample(range(COLUMNS - 1), COLUMNS // 2))
    return {f"{_KINDS[n % 10]}{n:03d}": _value(_KINDS[n % 10], random) for n in chosen}


def _value(kind: str, random: Random) -> Value:
    match kind:
        case "text":
            return {"S": f"{random.choice(_WORDS)} {random.choice(_WORDS)} {random.randrange(1000)}"}
        case "number":
            return {"N": str(random.randrange(10**6))}
        case "flag":
            return {"BOOL": random.random() < 0.5}
    return {"N": f"{random.randrange(10**5)}.{random.randrange(1, 100):02d}"}


WIDE = Shape("WIDE", text_key("id"), 55_000, wide_item, compared=("text000", "number001", "flag004", "price009"))

BENCHMARK = conversion("convert_wide", WIDE)
