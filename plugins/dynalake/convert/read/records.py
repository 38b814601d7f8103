"""Raw objects as change records; other lines go to quarantine with object, line number and reason."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

from dynalake.convert.read.raw import BadLine, BrokenObject, decode, parse_line, stream_lines
from dynalake.errors import RecordError
from dynalake.lake.catalog.table import Table
from dynalake.lake.files.folders import Input
from dynalake.lake.types.key_text import key_text
from dynalake.lake.types.union import has_half
from dynalake.record.attribute import AMBIGUOUS_TYPES, escape_surrogates
from dynalake.record.change import (
    EVENT_TIME,
    EXPIRED,
    OPERATION,
    OPERATIONS,
    OTHER,
    SEQUENCE_NUMBER,
    TYPES,
    is_sequence_number,
    json_key,
)
from dynalake.record.key import ItemKey

DELETED = "the object was deleted after it was listed"

SHOWN = 4096
"""Characters of a rejected line that are kept next to its address; the raw object keeps all of it."""

SHOWN_VALUE = 60
"""Characters of a value that a reason shows."""


@dataclass(frozen=True)
class Record:
    """One change: its order, its line, and the parsed line.

    `order` is item key, sequence number, event time, line. Of two records with one key and sequence number the last in
    this order stays, in whatever order they were read.
    """

    order: tuple[Any, ...]
    line: bytes
    values: dict[str, Any]

    @property
    def identity(self) -> tuple[Any, ...]:
        """Item key and sequence number."""
        return self.order[:-2]


class Rejecting(Protocol):
    """Takes rejected lines, and the number of bytes that are `lost` of an object."""

    def add(self, key: str, number: int, reason: str, line: bytes = b"", lost: int = 0) -> None: ...


def read_records(
    table: Table,
    objects: Iterable[Input],
    parse: RecordParser,
    rejected: Rejecting,
) -> Iterator[Record | None]:
    """Yield the records of the objects, one after the other; None for a canary.

    Every line that is not blank is yielded once, or is in `rejected` once. An object that is missing or cut short adds
    one entry for what is lost of it. Raises `ConflictError` where an object was replaced since it was listed.
    """
    for raw in objects:
        number = 0
        body = table.store.open(raw.key, raw.etag)
        if body is None:
            rejected.add(raw.key, 0, DELETED, lost=raw.size)
            continue
        with body:
            try:
                for line in stream_lines(body):
                    number += 1
                    try:
                        yield parse(line)
                    except BadLine as error:
                        rejected.add(raw.key, number, str(error), line)
            except BrokenObject as error:
                rejected.add(raw.key, number + 1, str(error), lost=max(0, raw.size - error.at))


def kind_of(reason: str) -> str:
    """Return a reason without what differs from line to line: `not JSON`, `gzip is cut short`…"""
    return reason.partition(":")[0]


class RecordParser:
    """Turns lines into records of one table, checked as far as later steps depend on it.

    Text with half of a surrogate pair is accepted, but not in the key or in attributes' names. Where the key has a
    number, records are ordered by the key's text (`lake.key_text`), and not by its values.
    """

    def __init__(self, key: ItemKey) -> None:
        self._by_text = any(a.type == "N" for a in key.attributes)
        types: dict[str, tuple[type, ...]] = {"S": (str,), "N": (int, Decimal), "B": (str,)}
        self._key = [(json_key(a.name), a.type, types[a.type]) for a in key.attributes]

    def __call__(self, line: bytes) -> Record | None:
        """Return the record, or None for a canary. Raise `BadLine`."""
        values = parse_line(line)
        operation = values.get(OPERATION)
        if operation not in OPERATIONS:
            raise BadLine(f"{OPERATION} is not an operation: {_shown(operation)}")
        if operation == "CANARY":
            return None
        sequence, moment = values.get(SEQUENCE_NUMBER), values.get(EVENT_TIME)
        if not isinstance(sequence, str) or not is_sequence_number(sequence):
            raise BadLine(f"{SEQUENCE_NUMBER} is not a sequence number: {_shown(sequence)}")
        if type(moment) is not int or not -(2**63) <= moment < 2**63:
            raise BadLine(f"{EVENT_TIME} is not milliseconds in digits: {_shown(moment)}")
        if not isinstance(values.get(EXPIRED, False), bool):
            raise BadLine(f"{EXPIRED} is not true or false: {_shown(values[EXPIRED])}")
        if TYPES in values:
            values[TYPES] = types_text(values[TYPES])
        if OTHER in values:
            raise BadLine(f"{OTHER} is not a field of a change record")
        parts: list[Any] = []
        for name, kind, types in self._key:
            part = values.get(name)
            if not isinstance(part, types) or isinstance(part, bool):
                raise BadLine(f"key attribute {name!r} is not of type {kind}: {_shown(part)}")
            if isinstance(part, str) and has_half(part):
                raise BadLine(f"key attribute {name!r} has half of a surrogate pair")
            parts.append(part)
        if rb"\u" in line and any(map(has_half, values)):
            raise BadLine("an attribute's name has half of a surrogate pair")
        if self._by_text:
            try:
                parts = [key_text(parts)]
            except RecordError as error:
                raise BadLine(f"the key's number is not a DynamoDB number: {_shown(parts)}") from error
        return Record((*parts, sequence, moment, line), line, values)


def _shown(value: Any) -> str:
    return repr(value)[:SHOWN_VALUE]


def types_text(types: Any) -> str:
    """Return a record's `__types` as compact JSON, in its own order. Raise `BadLine` where it is malformed."""
    if not isinstance(types, dict) or not all(kind in AMBIGUOUS_TYPES for kind in types.values()):
        raise BadLine(f"{TYPES} is not an object of {', '.join(AMBIGUOUS_TYPES)}: {_shown(types)}")
    return escape_surrogates(json.dumps(types, ensure_ascii=False, separators=(",", ":")))


def is_types_text(text: str) -> bool:
    """Return whether `text` is what `types_text` gives for it."""
    try:
        return types_text(decode(text)) == text
    except (ValueError, RecursionError):
        return False
