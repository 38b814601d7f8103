"""JSON values as `parse_line` returns them: numbers of all kinds, colliding names, and near-duplicates."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from dynalake.lake.types.budget import Budget, Limits

KEYS = st.sampled_from(["a", "b", "A", "a-b", "1", "", "ab", "c", "e" * 6])

LIMITS = Limits(struct_keys=3, key_length=5, depth=3, size=14)
"""Limits so small that every bound is reached often."""

BUDGET = Budget(columns=5, fields=14, column_fields=6, schema_bytes=900, attributes=6, gathered=30, limits=LIMITS)

_digits = st.integers(0, 10**40).map(str)
NUMBERS = st.one_of(
    st.sampled_from(
        ["0", "1", "1.5", "-7", "9223372036854775807", "9223372036854775808", "1E+3", "0.1234567890123456"]
    ),
    st.builds(lambda d, e: f"{d}E{e}", _digits, st.integers(-140, 130)),
    st.builds(lambda d, e: f"-{d}E{e}", _digits, st.integers(-12, 3)),
).map(lambda text: int(text) if text.lstrip("-").isdigit() else Decimal(text))

SCALARS = st.one_of(st.none(), st.booleans(), st.text("xy", max_size=2), NUMBERS)


def _nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=5))


VALUES: st.SearchStrategy[Any] = st.recursive(SCALARS, _nested, max_leaves=8)
ITEMS: st.SearchStrategy[dict[str, Any]] = st.dictionaries(KEYS, VALUES, max_size=6)


def plain(value: Any) -> Any:
    """Return a value as any reader must return it: numbers as Decimal, no nulls in objects."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [plain(v) for v in value]
    return Decimal(value) if isinstance(value, int) and not isinstance(value, bool) else value
