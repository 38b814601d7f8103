"""The demo's items (generated receipts or the user's JSON file), and the changes made to them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from itertools import count as count_from
from pathlib import Path
from random import Random
from typing import Any, Literal

from dynalake.record.key import ItemKey, KeyAttribute
from infra.local.demo import receipts
from infra.local.demo.receipts import Item, Value, generate_receipts
from infra.local.demo.writing import KeyValues, key_values

# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html#limits-data-types
_DIGITS = 38
_ARITHMETIC = Context(prec=_DIGITS)


class ItemsError(ValueError):
    """The demo cannot load the file or use the key."""


@dataclass(frozen=True)
class Loaded:
    """Items with their key."""

    items: tuple[Item, ...]
    key: ItemKey


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
    """Load a JSON array of objects as items, digit for digit; of those with the same key, the last counts.

    Raises `ItemsError`, which names the wrong element.
    """
    key = parse_key(key_spec)
    try:
        elements = json.loads(
            path.read_text(encoding="utf-8"), parse_float=Decimal, parse_int=Decimal, parse_constant=_no_constant
        )
    except OSError as error:
        raise ItemsError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise ItemsError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(elements, list) or not elements:
        raise ItemsError(f"{path} holds {_kind(elements)}. Needed: an array of objects.")
    items: dict[KeyValues, Item] = {}
    for index, plain in enumerate(elements):
        if not isinstance(plain, dict):
            raise ItemsError(f"{path}: element {index} is {_kind(plain)}. Needed: an object.")
        item = {name: _attribute_value(value, f"{path}: element {index}: {name}") for name, value in plain.items()}
        for attribute in key.attributes:
            value = item.get(attribute.name)
            if value is None or attribute.type not in value or value[attribute.type] == "":
                raise ItemsError(
                    f"{path}: element {index} has {'no' if value is None else f'the value {value} as'} key attribute "
                    f"{attribute.name!r}. Needed: a value of type {attribute.type}; KEY is {key_spec!r}."
                )
        items[key_values(key, item)] = item
    return Loaded(tuple(items.values()), key)


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
    return {**item, "changedByDemo": {"N": str(random.randrange(10**6))}}


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


def _attribute_value(value: object, where: str) -> Value:
    match value:
        case None:
            return {"NULL": True}
        case bool():
            return {"BOOL": value}
        case str():
            return {"S": value}
        case Decimal():
            digits = "".join(map(str, value.as_tuple().digits)).strip("0")
            if len(digits) > _DIGITS or (value and not -130 <= value.adjusted() <= 125):
                raise ItemsError(f"{where} is {value}. Needed: at most {_DIGITS} digits, between 1E-130 and 1E+126.")
            return {"N": str(value) if value else "0"}
        case list():
            return {"L": [_attribute_value(element, f"{where}[{n}]") for n, element in enumerate(value)]}
        case Mapping():
            return {"M": {name: _attribute_value(member, f"{where}.{name}") for name, member in value.items()}}
    raise ItemsError(f"{where} is {value!r}. Needed: a JSON value.")


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "an empty array", str: "a string", bool: "a boolean", type(None): "null"}
    return kinds.get(type(value), "a number")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number.")
