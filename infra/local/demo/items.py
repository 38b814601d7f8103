"""The demo's items (generated receipts or the user's file), and the changes made to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from itertools import count as count_from
from pathlib import Path
from random import Random
from typing import Literal

from dynalake.record.key import ItemKey, KeyAttribute
from infra.local.demo import receipts
from infra.local.demo.formats import ItemsError, read_items
from infra.local.demo.receipts import Item, Value, generate_receipts
from infra.local.demo.writing import KeyValues, key_values

INVENTED = "changedByDemo"
"""The attribute that some changes add."""
_ARITHMETIC = Context(prec=38)


@dataclass(frozen=True)
class Loaded:
    """Items with their key; `repeated` more had the key of a later one."""

    items: tuple[Item, ...]
    key: ItemKey
    repeated: int = 0


@dataclass(frozen=True)
class Change:
    """One write: `item` is the whole new image for INSERT and MODIFY, and only the key for REMOVE."""

    operation: Literal["INSERT", "MODIFY", "REMOVE"]
    item: Item


def generated(count: int, seed: int = 1) -> Loaded:
    """Return `count` generated receipts."""
    return Loaded(tuple(generate_receipts(count, seed)), receipts.KEY)


def parse_key(spec: str) -> ItemKey:
    """Parse a key such as `year:N,title:S`: one or two attributes, each of type S or N. Raises `ItemsError`."""
    parts = [part.strip().rpartition(":") for part in spec.split(",")]
    if not 1 <= len(parts) <= 2 or any(not name or kind not in ("S", "N") for name, _, kind in parts):
        raise ItemsError(f"KEY is {spec!r}. Needed: one or two NAME:TYPE with type S or N, such as year:N,title:S.")
    attributes = [KeyAttribute(name, kind) for name, _, kind in parts]
    if len({attribute.name for attribute in attributes}) != len(attributes):
        raise ItemsError(f"KEY is {spec!r}. Needed: two different attributes.")
    return ItemKey(*attributes)


def load_items(path: Path, key_spec: str) -> Loaded:
    """Load a file of items; of those with the same key, the last counts. Raises `ItemsError`."""
    key = parse_key(key_spec)
    items: dict[KeyValues, Item] = {}
    repeated = 0
    for place, item in read_items(path):
        for attribute in key.attributes:
            value = item.get(attribute.name)
            if value is None or attribute.type not in value or value[attribute.type] == "":
                raise ItemsError(
                    f"{path}: {place} has {'no' if value is None else f'the value {value} as'} key attribute "
                    f"{attribute.name!r}. Needed: a value of type {attribute.type}; KEY is {key_spec!r}."
                )
        values = key_values(key, item)
        repeated += values in items
        items[values] = item
    return Loaded(tuple(items.values()), key, repeated)


def changes(
    items: Sequence[Item], key: ItemKey, *, seed: int, count: int, updated_at: Callable[[int], Value] | None = None
) -> Iterator[Change]:
    """Yield `count` changes to a table that holds `items`, in order: about 60% updates, 20% inserts, 20% deletes.

    The same arguments always give the same changes. Inserts are new receipts, copies of the user's items under new
    keys, or items that were deleted before. `updated_at(n)` is the `updatedAt` of change n, for items that have one.
    """
    random = Random(f"changes:{seed}")
    live = list(items)
    deleted: list[Item] = []
    new = _new_items(items, key, random, seed)
    for number in range(count):
        draw = random.random()
        position = random.randrange(len(live)) if live else 0
        if draw < 0.6 and live:
            live[position] = _stamped(_updated(live[position], key, random), number, updated_at)
            yield Change("MODIFY", live[position])
        elif draw < 0.8 and live:
            live[position], live[-1] = live[-1], live[position]
            deleted.append(live.pop())
            yield Change("REMOVE", {name: deleted[-1][name] for name in key.names})
        else:
            again = deleted and random.random() < 0.3
            item = deleted.pop(random.randrange(len(deleted))) if again else next(new)
            live.append(_stamped(item, number, updated_at))
            yield Change("INSERT", live[-1])


def _stamped(item: Item, number: int, updated_at: Callable[[int], Value] | None) -> Item:
    if updated_at is None or "updatedAt" not in item:
        return item
    return {**item, "updatedAt": updated_at(number)}


def _new_items(items: Sequence[Item], key: ItemKey, random: Random, seed: int) -> Iterator[Item]:
    """Yield items without end; their keys are not among `items` and do not repeat."""
    taken = {key_values(key, item) for item in items}
    last = key.attributes[-1]
    for number in count_from(len(items)):
        if key == receipts.KEY:
            item = receipts.receipt(number, seed)
        else:
            original = random.choice(items)
            value = original[last.name][last.type]
            other = f"{value} ({number})" if last.type == "S" else str(10**6 + number)
            item = {**original, last.name: {last.type: other}}
        if key_values(key, item) not in taken:
            taken.add(key_values(key, item))
            yield item


def _updated(item: Item, key: ItemKey, random: Random) -> Item:
    """Return the item with an attribute that is changed, removed or new."""
    others = sorted(item.keys() - {*key.names, "updatedAt"})
    draw, name = random.random(), random.choice(others) if others else ""
    if name and draw < 0.1:
        return {other: value for other, value in item.items() if other != name}
    # DynamoDB writes no stream record if a write changes nothing.
    if name and draw < 0.9 and (touched := _touched(item[name], random)) != item[name]:
        return {**item, name: touched}
    return {**item, INVENTED: {"N": str(random.randrange(10**6))}}


def _touched(value: Value, random: Random) -> Value:
    """Return another value of the same type."""
    ((kind, content),) = value.items()
    match kind:
        case "S":
            return {"S": f"{content} ✎{random.randrange(100)}"}
        case "N":
            return {"N": str(_ARITHMETIC.add(Decimal(content), 1))}
        case "BOOL":
            return {"BOOL": not content}
        case "B":
            return {"B": random.randbytes(5)}
        case "NULL":
            return value
        case "SS":
            return {"SS": sorted({*content, f"label {random.randrange(100)}"})}
        case "NS":
            return {"NS": sorted({*content, str(random.randrange(100, 999))})}
        case "BS":
            return {"BS": sorted({*content, random.randbytes(4)})}
        case "L":
            return {"L": [_touched(content[0], random), *content[1:]] if content else [{"S": "first"}]}
        case _:
            if not content:
                return {"M": {"added": {"BOOL": True}}}
            name = random.choice(sorted(content))
            return {"M": {**content, name: _touched(content[name], random)}}
