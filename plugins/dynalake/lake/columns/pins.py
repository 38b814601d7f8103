"""The pins of attributes by a user: which are never columns, the type of one, the name of one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from dynalake.errors import SettingsError
from dynalake.lake.columns.column import compact_json
from dynalake.lake.columns.column_names import NAME_LIMIT, is_name
from dynalake.lake.columns.column_types import BIGINT, DOUBLE, decimal
from dynalake.lake.types.budget import BUDGET, Budget
from dynalake.lake.types.union import BOOLEAN, MIXED, TEXT, Number, Type

_TYPES: dict[str, Type] = {"text": TEXT, "json": MIXED, "bigint": BIGINT, "double": DOUBLE, "boolean": BOOLEAN}
_is_decimal = re.compile(r"decimal\(38,([0-9]|[12][0-9]|3[0-8])\)").fullmatch
_FORM = '{"never": [attribute, …], "types": {attribute: type}, "names": {attribute: column}}'
ALLOWED_TYPES = (*_TYPES, "decimal(38,s)")


def pinned_type(text: str) -> Type:
    """Return the type that a pin names. `text` is for strings alone, `json` for every value, as its JSON text.

    Raises `SettingsError` where it does not name a type.
    """
    if text in _TYPES:
        return _TYPES[text]
    if match := _is_decimal(text):
        return decimal(int(match[1]))
    raise SettingsError(f"The type {text!r} is pinned", allowed=", ".join(ALLOWED_TYPES) + " with s from 0 to 38")


@dataclass(frozen=True)
class Pins:
    """`never`: attributes without a column. `types` and `names`: of columns, by attribute.

    A value that does not fit a pinned type stays in `__other`: a pinned column is never widened. No other attribute has
    a pinned name: one whose own name it is gets a suffix. `closed`: the columns stay as they are, whatever comes; only
    the key's attributes and pinned ones still get theirs.

    Raises `SettingsError` where they contradict each other, or are not allowed.
    """

    never: tuple[str, ...] = ()
    types: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    closed: bool = False

    def __post_init__(self) -> None:
        for attribute in {*self.types, *self.names} & {*self.never}:
            raise SettingsError(
                f"`never` lists the attribute {attribute!r}, which has a pinned type or name",
                action="remove one of the two",
            )
        for text in self.types.values():
            pinned_type(text)
        for attribute, name in self.names.items():
            if not is_name(name):
                raise SettingsError(
                    f"The attribute {attribute!r} is pinned to the column {name!r}",
                    allowed=f"at most {NAME_LIMIT} of a-z, 0-9 and _, without a digit at the start or an end like "
                    "_1a2b3c4d, which generated names have",
                )
        by_name: dict[str, str] = {}
        for attribute, name in self.names.items():
            if name in by_name:
                raise SettingsError(
                    f"The attributes {by_name[name]!r} and {attribute!r} are pinned to one column, {name!r}",
                    allowed="a different name for each",
                )
            by_name[name] = attribute

    def __bool__(self) -> bool:
        return bool(self.never or self.types or self.names or self.closed)

    def __hash__(self) -> int:
        return hash((self.never, *sorted(self.types.items()), *sorted(self.names.items()), self.closed))

    @cached_property
    def attributes(self) -> frozenset[str]:
        """Attributes that have to be columns."""
        return frozenset({*self.types, *self.names})

    @cached_property
    def taken(self) -> frozenset[str]:
        """Names that are pinned."""
        return frozenset(self.names.values())

    @cached_property
    def without(self) -> frozenset[str]:
        """Attributes that are never columns."""
        return frozenset(self.never)

    def type(self, attribute: str) -> Type | None:
        """Return the type that is pinned for an attribute."""
        text = self.types.get(attribute)
        return None if text is None else pinned_type(text)

    def check(self, key_types: Mapping[str, str], reserved: Iterable[str], budget: Budget = BUDGET) -> None:
        """Raise `SettingsError` where they contradict the table's key (`{attribute: S, N or B}`) or names."""
        named = {*self.never, *self.attributes}
        if len(named) > budget.pins:
            raise SettingsError(f"{len(named)} attributes are pinned", allowed=f"at most {budget.pins}")
        size = len(compact_json(self.to_dict()))
        if size > budget.pins_bytes:
            raise SettingsError(f"The pinned attributes have {size} bytes", allowed=f"at most {budget.pins_bytes}")
        for attribute in sorted(named):
            if len(attribute) > budget.limits.key_length:
                raise SettingsError(
                    f"An attribute of {len(attribute)} characters is pinned: {attribute[:40]!r}…",
                    allowed=f"at most {budget.limits.key_length}; longer ones are never columns",
                )
        for attribute, kind in key_types.items():
            if attribute in self.without:
                raise SettingsError(f"`never` lists the key attribute {attribute!r}", action="leave it out")
            of = self.type(attribute)
            fitting = isinstance(of, Number) or of == MIXED if kind == "N" else of == TEXT
            if of is not None and not fitting:
                allowed = "bigint, double, decimal(38,s) or json" if kind == "N" else "text"
                raise SettingsError(
                    f"The type {self.types[attribute]!r} is pinned for the key attribute {attribute!r} ({kind})",
                    allowed=allowed,
                )
        for attribute, name in self.names.items():
            if name in set(reserved):
                raise SettingsError(
                    f"The attribute {attribute!r} is pinned to the column {name!r}, which dynalake itself uses",
                    action="choose another name",
                )

    def to_dict(self) -> dict[str, Any]:
        """Return a dict for JSON, without what is empty."""
        own = {"never": list(self.never), "types": dict(self.types), "names": dict(self.names)}
        parts: dict[str, Any] = {**own, "closed": self.closed}
        return {name: part for name, part in parts.items() if part}

    @classmethod
    def of_setting(cls, text: str, *, closed: bool = False) -> Pins:
        """Return the pins of the table's setting `columns`: JSON or nothing. Raise `SettingsError` for other forms."""
        try:
            values = json.loads(text or "{}")
        except ValueError:
            values = None
        if not isinstance(values, dict):
            raise SettingsError(f"columns is {text!r}", allowed=_FORM, action="correct it and trigger the DAG again")
        return replace(cls._parse(values), closed=closed)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Pins:
        """Return the pins from `to_dict`."""
        return replace(cls._parse({k: v for k, v in values.items() if k != "closed"}), closed="closed" in values)

    @classmethod
    def _parse(cls, values: Mapping[str, Any]) -> Pins:
        never, types, names = values.get("never", []), values.get("types", {}), values.get("names", {})
        pairs = [*types.items(), *names.items()] if isinstance(types, dict) and isinstance(names, dict) else [(0, 0)]
        texts = [*never, *(text for pair in pairs for text in pair)] if isinstance(never, list | tuple) else [0]
        if not values.keys() <= {"never", "types", "names"} or not all(isinstance(text, str) for text in texts):
            raise SettingsError(
                f"The pinned attributes are {dict(values)!r}",
                allowed=_FORM,
            )
        return cls(tuple(never), types, names)
