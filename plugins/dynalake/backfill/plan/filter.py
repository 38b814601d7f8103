"""The items that a backfill keeps: those last written before the hand-off.

The time is in an attribute of the item (`updatedAt`, or a path such as `audit.changes[0].at`) as epoch seconds,
milliseconds or microseconds, or as ISO-8601 text; each value is recognised on its own, because real tables mix them. No
value goes through a float, so one right at the cutoff falls on its true side.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from enum import Enum
from functools import cached_property
from typing import Any, Literal

from dynalake.errors import RecordError, SettingsError, cut

Missing = Literal["keep", "drop"]
Invalid = Literal["keep", "drop", "fail"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_ISO = re.compile(
    r"\d{4}(-\d\d-\d\d|\d{4}|-?W\d\d-?\d)"
    r"([Tt ]\d\d(:?\d\d(:?\d\d([.,]\d+)?)?)?\s?([Zz]|[+-]\d\d(:?\d\d)?)?)?",
    re.ASCII,
)
_RUN_TOGETHER = re.compile(r"\d{14}(\d{3})?", re.ASCII)
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.Attributes.html
_PATH = re.compile(r"[^.\[\]]+(?:\.[^.\[\]]+|\[\d{1,6}\])+")
_STEP = re.compile(r"\[(\d+)\]|([^.\[\]]+)")
# DynamoDB numbers have at most 38 digits; scaling by 10^6 then never rounds.
_EXACT = Context(prec=80)

# The first size that is read as the next smaller unit: 10^11 s is the year 5138, 10^11 ms is 1973.
_MILLISECONDS_FROM = 10**11
_MICROSECONDS_FROM = 10**14
_NO_TIME_FROM = 10**17

ALLOWED = (
    "epoch seconds, milliseconds or microseconds (a number, or a text of digits), "
    "or ISO-8601 such as 2019-05-25T10:00:00Z (without a zone it is UTC)"
)


class Outcome(Enum):
    """The filter's decision about one item."""

    KEPT = "kept"
    KEPT_WITHOUT = "kept_without"
    KEPT_INVALID = "kept_invalid"
    KEPT_FUTURE = "kept_future"
    FILTERED = "filtered"
    FILTERED_WITHOUT = "filtered_without"
    FILTERED_INVALID = "filtered_invalid"


@dataclass(frozen=True)
class UpdatedBefore:
    """Keeps items whose `attribute` is strictly before `cutoff` (microseconds since the epoch).

    `missing` decides about an item without the attribute, or with an explicit NULL in it: `keep` or `drop`. `invalid`
    decides about one whose value is not a time: `keep`, `drop` or `fail`. Keeping it is safe: a snapshot never wins
    over a change. `attribute` may be a document path as DynamoDB writes it, `a.b[0].c`; an attribute whose own name is
    the whole path goes before it.

    `read_at` (microseconds) is given where the stream has all changes at or after the cutoff. An item whose time is
    later than its reading was not written then, so its time does not prove that the stream has it: it is kept. If the
    stream has it too, the stream's change wins.
    """

    attribute: str
    cutoff: int
    missing: Missing = "keep"
    invalid: Invalid = "keep"
    read_at: Callable[[], int] | None = None

    def decide(self, item: Mapping[str, Any], key_names: tuple[str, ...] = ()) -> Outcome:
        """Return the outcome for one item (`{name: attribute value}`).

        Raises `RecordError`, naming the values of `key_names`, if the attribute's value is not a time and `invalid` is
        `fail`.
        """
        value = self._find(item)
        if value is None or "NULL" in value:
            return Outcome.KEPT_WITHOUT if self.missing == "keep" else Outcome.FILTERED_WITHOUT
        text = value.get("N", value.get("S"))
        moment = None if text is None else microseconds(text, number="N" in value)
        if self.read_at is None and text is not None and _RUN_TOGETHER.fullmatch(text.strip()):
            # Read as epoch milliseconds, a date without separators would be in the year 2609, after any cutoff that a
            # person chose, and no item would be kept.
            moment = None
        if moment is None:
            if self.invalid == "fail":
                raise self._refused(value, show_key(item, key_names))
            return Outcome.KEPT_INVALID if self.invalid == "keep" else Outcome.FILTERED_INVALID
        if moment < self.cutoff:
            return Outcome.KEPT
        future = self.read_at is not None and moment > self.read_at()
        return Outcome.KEPT_FUTURE if future else Outcome.FILTERED

    def _refused(self, value: Mapping[str, Any], key: str) -> RecordError:
        return RecordError(
            f"{self.attribute!r} of the item with the key {key or '(unknown)'} is {_show(value)}, which is not a time",
            allowed=ALLOWED,
            action="correct the item, or run the backfill with `invalid_updated_at` keep or drop",
            attribute=self.attribute,
            key=key,
        )

    def _find(self, item: Mapping[str, Any]) -> Mapping[str, Any] | None:
        value: Mapping[str, Any] | None = item.get(self.attribute)
        if value is not None or not self._path:
            return value
        value = {"M": item}
        for step in self._path:
            inner: Any = value.get("M" if isinstance(step, str) else "L")
            if isinstance(step, str):
                value = inner.get(step) if isinstance(inner, Mapping) else None
            else:
                value = inner[step] if isinstance(inner, list) and step < len(inner) else None
            if value is None:
                return None
        return value

    @cached_property
    def _path(self) -> tuple[str | int, ...]:
        """Names and list positions on the way; empty where `attribute` is a plain name."""
        if not _PATH.fullmatch(self.attribute):
            return ()
        return tuple(name or int(position) for position, name in _STEP.findall(self.attribute))


def microseconds(text: str, *, number: bool = False) -> int | Decimal | None:
    """Return the moment in `text`, exactly, in microseconds since the epoch; None if it is not a time.

    `number`: DynamoDB holds it as N, so that eight digits are an epoch value and not a date `YYYYMMDD`. ISO
    fractions finer than a microsecond are cut, which cannot change a strict comparison with a cutoff that has
    microseconds at most.
    """
    text = text.strip()
    if not number and _ISO.fullmatch(text):
        return _iso(text)
    if not number and _RUN_TOGETHER.fullmatch(text):
        # 20190525103000 is a date without separators. As epoch milliseconds it would be in 2609, and the item lost.
        return None
    if text.isascii() and text.isdigit() and len(text) < 18:
        return _scaled(int(text))
    return _scaled(Decimal(text)) if _NUMBER.fullmatch(text) else None


def _scaled(value: int | Decimal) -> int | Decimal | None:
    size = abs(value) if isinstance(value, int) else value.copy_abs()
    if size < _MILLISECONDS_FROM:
        factor = 10**6
    elif size < _MICROSECONDS_FROM:
        factor = 10**3
    elif size < _NO_TIME_FROM:
        factor = 1
    else:
        return None
    return value * factor if isinstance(value, int) else _EXACT.multiply(value, Decimal(factor))


def _iso(text: str) -> int | None:
    try:
        moment = datetime.fromisoformat(text.upper().replace(" +", "+").replace(" Z", "Z"))
    except (ValueError, OverflowError):
        return None
    return of_datetime(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def of_datetime(moment: datetime) -> int:
    """Return an aware datetime in microseconds since the epoch, exactly."""
    return (moment - _EPOCH) // _MICROSECOND


def to_iso(moment: int) -> str:
    """Return microseconds since the epoch as ISO-8601 in UTC, always with six decimals and `Z`."""
    return (_EPOCH + moment * _MICROSECOND).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_cutoff(text: str) -> int:
    """Return `updated_before`, as a person or a DAG gives it, in microseconds since the epoch (rounded up if finer).

    Raises `SettingsError` if it is not a time.
    """
    return parse_moment("updated_before", text, empty="for the hand-off time")


def parse_moment(parameter: str, text: str, *, empty: str) -> int:
    """Return the moment in a run's parameter, as `parse_cutoff` does; `empty` says what an empty one means."""
    moment = microseconds(text)
    try:
        if moment is not None:
            rounded = math.ceil(moment)
            to_iso(rounded)
            return rounded
    except OverflowError:
        pass
    raise SettingsError(
        f"{parameter} is {text!r}",
        allowed=ALLOWED,
        action=f"trigger the backfill again with such a time, or leave it empty {empty}",
        **{parameter: text},
    )


def show_key(item: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """Return an item's key as errors and notes name it: `id='42', line='7'`, long values shortened."""
    return ", ".join(f"{name}={_show(item.get(name))}" for name in names)


def _show(value: object) -> str:
    """Return a value of DynamoDB's without its type."""
    return cut(repr(next(iter(value.values())) if isinstance(value, Mapping) and len(value) == 1 else value))
