"""RECEIPTS: items as a shop writes them, with every DynamoDB type and the oddities of real tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from dynalake.record.key import ItemKey, KeyAttribute

Value = dict[str, Any]
Item = dict[str, Value]

TABLE = "RECEIPTS"
KEY = ItemKey(KeyAttribute("receiptId", "S"))

_FIRST = datetime(2018, 1, 1, tzinfo=UTC)
_DAYS = 500
_CITIES = ("Köln", "São Paulo", "東京", "Reykjavík", "Αθήνα", "Kraków")
_PRODUCTS = ("apple", "bread", "crème fraîche", "🍕 pizza", "soap", 'a 7" record', "tea, green", "näyttö")
_NOTES = (
    "",
    "thanks",
    "line one\nline two\ttabbed",
    'he said "no"',
    "naïve, café; 100%",
    "{not json}",
    " padded ",
    "👩‍🚀",
)


def generate_receipts(count: int, seed: int = 1) -> Iterator[Item]:
    """Yield `count` receipts as attribute values; the same `seed` always gives the same receipts."""
    for number in range(count):
        yield receipt(number, seed)


def receipt(number: int, seed: int = 1) -> Item:
    """Return receipt `number`, which depends only on the arguments."""
    random = Random(number * 1_000_003 + seed)
    updated = _FIRST + timedelta(milliseconds=random.randrange(_DAYS * 86_400_000))
    item: Item = {
        "receiptId": {"S": f"R-{number:08d}"},
        "userId": {"S": f"u{random.randrange(5000):04d}"},
        "total": {"N": f"{random.randrange(1, 99_999)}.{random.randrange(1, 100):02d}"},
        "paid": {"BOOL": random.random() < 0.9},
        # Larger than 64 bits, and the most digits that DynamoDB holds.
        "ledgerId": {"N": str(2**64 + random.getrandbits(64))},
        "exact": {"N": f"{10**27 + random.getrandbits(89)}.{10**9 + random.getrandbits(29) | 1}"},
        "lines": {"L": [generate_line(random) for _ in range(_FEW[number % len(_FEW)])]},
    }
    for name, (share, make) in _SOMETIMES.items():
        if random.random() < share:
            item[name] = make(random)
    if random.random() < 0.95:
        item["updatedAt"] = updated_at(updated, random.randrange(4))
    return item


def updated_at(moment: datetime, way: int) -> Value:
    """Return a moment in one of four ways: epoch seconds, epoch milliseconds, ISO-8601 with and without a zone."""
    milliseconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    if way == 0:
        return {"N": str(milliseconds // 1000)}
    if way == 1:
        return {"N": str(milliseconds)}
    return {"S": _iso(moment) if way == 2 else _iso(moment).removesuffix("Z")}


def generate_line(random: Random) -> Value:
    """Return one of a receipt's `lines`."""
    line: dict[str, Value] = {
        "name": {"S": random.choice(_PRODUCTS)},
        "price": {"N": f"{random.randrange(1000)}.{random.randrange(100):02d}"},
    }
    extra = random.random()
    if extra < 0.2:
        line["discount"] = {"NULL": True} if extra < 0.05 else {"N": "0.1"}
        line["tags"] = {"SS": ["cold", "new"]}
    return {"M": line}


def _store(random: Random) -> Value:
    store: dict[str, Value] = {
        "id": {"N": str(random.randrange(200))},
        "city": {"S": random.choice(_CITIES)},
        "geo": {"L": [{"N": f"{random.randrange(-90, 90)}.25"}, {"N": f"{random.randrange(-180, 180)}.5"}]},
    }
    if random.random() < 0.5:
        store["open"] = {"BOOL": random.random() < 0.5}
    return {"M": {"address": {"M": store}}}


def _loyalty(random: Random) -> Value:
    kinds: tuple[Value, ...] = (
        {"N": str(random.randrange(1000))},
        {"S": f"card {random.randrange(1000)}"},
        {"M": {"level": {"S": "gold"}, "points": {"N": str(random.randrange(10**6))}}},
        {"L": [{"N": "1"}, {"S": "1"}, {"NULL": True}]},
    )
    return random.choice(kinds)


_FEW = (1, 2, 1, 3, 0, 1)
# Optional attributes: the share of receipts that have each, and the function that makes its value.
_SOMETIMES: dict[str, tuple[float, Callable[[Random], Value]]] = {
    "attachments": (0.1, lambda r: {"BS": sorted({r.randbytes(6), r.randbytes(3)})}),
    "coupons": (0.3, lambda r: {"L": [{"S": "WELCOME"}] * r.randrange(3)}),
    "dt": (0.05, lambda r: {"S": "an attribute named like the partition"}),
    "ever": (0.2, lambda r: {"NULL": True}),
    "labels": (0.3, lambda r: {"SS": sorted({r.choice(_PRODUCTS) for _ in range(3)})}),
    "loyalty": (0.4, _loyalty),  # of varying type
    "metadata": (0.3, lambda r: {"M": {} if r.random() < 0.5 else {"source": {"S": "till"}}}),
    "notes": (0.6, lambda r: {"S": r.choice(_NOTES)}),
    "points": (0.3, lambda r: {"NS": sorted({f"{r.randrange(9)}.5", str(r.randrange(10, 99)), "-1"})}),
    "rate": (0.5, lambda r: {"N": f"{r.choice(('', '-'))}{r.randrange(1, 10**6)}E-{r.randint(1, 9)}"}),
    "refundedAt": (0.3, lambda r: {"NULL": True} if r.random() < 0.7 else {"S": "2019-05-01"}),
    "signature": (0.3, lambda r: {"B": r.randbytes(r.randrange(24))}),
    "store": (0.5, _store),
    "userid": (0.1, lambda r: {"S": f"legacy-{r.randrange(100)}"}),  # collides with `userId` in lower case
}


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
