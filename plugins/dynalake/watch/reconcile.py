"""A check that the lake is right: some of the items that changed last are read from the table and compared.

The lake's item is the last change that landed; the table's comes from a strongly consistent read. Where the two are
equal, encoder, forwarder, Kinesis and Firehose work. Where they are not, the item may have changed since: then that
change must land, byte for byte. So the item is in doubt until it does, and differs when it has not after a multiple of
the freshness target.

An item's last change is that with the highest sequence number, whatever its time. The check cannot see a missing change
of an item whose other changes are not in the sample, items that nobody changes any more, and errors of conversions,
which count every line themselves.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha256
from itertools import islice
from typing import Any

from dynalake.aws.s3 import StoredObject
from dynalake.backfill.export.numbers import item_key
from dynalake.convert.read.raw import BadLine, BrokenObject, parse_line, stream_lines
from dynalake.lake.catalog.table import Table
from dynalake.record.change import EVENT_TIME, METADATA, OPERATION, SEQUENCE_NUMBER, encode_change, json_key
from dynalake.record.key import ItemKey
from dynalake.watch.readings import Comparison, Doubt

PATIENCE = 2
"""Freshness targets that a change may take before the item counts as different."""
FORGOTTEN_MS = 24 * 3600 * 1000
"""How long a difference is reported; its cause does not go away by itself."""
COMPARED_MS = 12 * 3600 * 1000
"""Greatest age of changes that are compared: later changes of their items are in the days that are listed. A change
that was replayed late, or imported, may have been followed by others long ago.
"""
READ_BYTES = 64 << 20
"""Bytes of new objects that are read to clear a doubt up. With more, it stays open until it is forgotten."""
# https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html
MOST_ITEMS = 100


@dataclass(frozen=True)
class Candidate:
    """The last change of an item in a sample. `image`: a digest of the item after it; `at`: when it was made.

    `since`: a later change of the item lands after this.
    """

    key: str
    attributes: dict[str, Any]
    """Key as DynamoDB takes it."""
    sequence: str
    image: str
    at: int
    since: int


def candidate(key: ItemKey, record: Mapping[str, Any], landed: int) -> Candidate | None:
    """Return a change record of the stream as a candidate; None for another (snapshot, import, damaged line).

    `landed`: when its object did (milliseconds). A clock may have been ahead of that.
    """
    sequence, at = record.get(SEQUENCE_NUMBER), record.get(EVENT_TIME)
    operation = record.get(OPERATION)
    if operation not in ("INSERT", "MODIFY", "REMOVE") or not isinstance(at, int):
        return None
    # An imported change is the state at the end of a window, not a change of the stream; its number has a point.
    if not isinstance(sequence, str) or not sequence.isdigit():
        return None
    values = [record.get(json_key(name)) for name in key.names]
    try:
        parts = {a.name: _key_value(a.type, value) for a, value in zip(key.attributes, values, strict=True)}
        text = json.dumps(values, default=str, ensure_ascii=False)
        text.encode()  # a key that can be requested has no half of a surrogate pair
    except ValueError:
        return None
    return Candidate(text, parts, sequence, image_of(text, record), at, min(at, landed - 1))


def _key_value(kind: str, value: Any) -> dict[str, Any]:
    """Return a key attribute as DynamoDB takes it. Raise `ValueError` where it is malformed."""
    if kind == "N" and isinstance(value, int | Decimal) and not isinstance(value, bool):
        return {"N": str(value)}
    if kind != "N" and isinstance(value, str):
        return {kind: base64.b64decode(value, validate=True) if kind == "B" else value}
    raise ValueError(kind)


def image_of(key: str, record: Mapping[str, Any] | None) -> str:
    """Return a digest of an item after a change; for a removed one (None, or `REMOVE`), of its removal and key."""
    if record is None or record.get(OPERATION) == "REMOVE":
        return "removed " + sha256(key.encode()).hexdigest()[:32]
    item = {name: value for name, value in record.items() if name not in METADATA}
    # Numbers are int or Decimal here, so `default` writes every digit.
    return sha256(json.dumps(item, sort_keys=True, default=repr).encode()).hexdigest()[:32]


def choose(candidates: Iterable[Candidate], count: int, now: int) -> list[Candidate]:
    """Return `count` recent candidates, the same for the same candidates, and spread over the keys."""
    recent = (c for c in candidates if now - c.at < COMPARED_MS)
    ordered = sorted(recent, key=lambda c: (sha256(f"{c.key} {c.sequence}".encode()).digest(), c.key))
    return ordered[: min(count, MOST_ITEMS)]


def compare(chosen: Sequence[Candidate], images: Mapping[str, str], before: Comparison, now: int) -> Comparison:
    """Return the comparison with these items added. `images`: what the table holds, by key."""
    known = {doubt.key for doubt in (*before.doubts, *before.differing)}
    answered = [c for c in chosen if c.key in images and c.key not in known]
    equal = [c for c in answered if images[c.key] == c.image]
    doubts = [Doubt(c.key, images[c.key], now, c.since) for c in answered if images[c.key] != c.image]
    return Comparison(
        at=now if answered else before.at,
        compared=before.compared + len(equal),
        equal=before.equal + len(equal),
        doubts=(*before.doubts, *doubts),
        differing=before.differing,
    )


def clear_up(
    before: Comparison, landed: frozenset[str] | None, now: int, target_minutes: int, *, conclude: bool
) -> Comparison:
    """Close doubts whose change has landed (`landed`: images of changes; None: too many to read). After a while without
    it, an item differs, if that may be concluded: where the pipeline is late or stands still, it may not.
    """
    waits, differing, equal = [], [], 0
    for doubt in (*before.doubts, *before.differing):
        known = doubt in before.differing
        patient = now - doubt.seen <= PATIENCE * target_minutes * 60_000
        if landed is not None and doubt.image in landed:
            equal += 0 if known else 1
        elif now - doubt.seen > FORGOTTEN_MS:
            continue
        elif known or (landed is not None and conclude and not patient):
            differing.append(doubt)
        else:
            waits.append(doubt)
    return Comparison(
        at=before.at,
        compared=before.compared + equal + len(set(differing) - set(before.differing)),
        equal=before.equal + equal,
        doubts=tuple(waits),
        differing=tuple(differing),
    )


# -- the edge ------------------------------------------------------------------------------------------------------


def read_images(table: Table, key: ItemKey, chosen: Sequence[Candidate]) -> dict[str, str]:
    """Return what the table holds of these items now, by key; leave out what DynamoDB does not answer for now."""
    names = table.names
    if not chosen:
        return {}
    request: dict[str, Any] = {names.table: {"Keys": [c.attributes for c in chosen], "ConsistentRead": True}}
    answer: Any = table.clients.dynamodb.batch_get_item(RequestItems=request)
    unprocessed = answer.get("UnprocessedKeys", {}).get(names.table, {}).get("Keys", [])
    unanswered = {item_key(key, attributes) for attributes in unprocessed}
    items = {item_key(key, item): item for item in answer["Responses"].get(names.table, [])}
    images = {}
    for c in chosen:
        place = item_key(key, c.attributes)
        item = items.get(place)
        if place not in unanswered:
            images[c.key] = image_of(c.key, None if item is None else _record(item))
    return images


def read_landed(
    table: Table, key: ItemKey, doubts: Sequence[Doubt], objects: Sequence[StoredObject]
) -> frozenset[str] | None:
    """Return the images of the doubted items' changes in these objects; None where they are too large to read now."""
    if sum(o.size for o in objects) > READ_BYTES:
        return None
    keys = {doubt.key for doubt in doubts}
    images = set()
    for raw in objects:
        for record in read_records(table, raw):
            change = candidate(key, record, raw.modified)
            if change is not None and change.key in keys:
                images.add(change.image)
    return frozenset(images)


def read_records(table: Table, raw: StoredObject, limit: int | None = None) -> Iterator[dict[str, Any]]:
    """Yield the records in the first `limit` lines of a raw object, without other lines; none where it was deleted."""
    body = table.store.open(raw.key)
    if body is None:
        return
    with body, suppress(BrokenObject):
        for line in islice(stream_lines(body), limit):
            with suppress(BadLine):
                yield parse_line(line)


def _record(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return an item as the lake would have it: through the same encoder, and read like a line that landed."""
    line = encode_change(item, operation="MODIFY", sequence_number="0", event_time=0)
    return parse_line(line.encode())
