"""The values of a row in plain Python."""

from __future__ import annotations

from typing import Any


def plain(value: Any, names: str) -> Any:
    """Return the value with structs as dicts. A client returns them as tuples that list their fields as `names`."""
    if isinstance(value, tuple):
        return {name: plain(field, names) for name, field in zip(getattr(value, names), value, strict=True)}
    if isinstance(value, dict):
        return {key: plain(field, names) for key, field in value.items()}
    if isinstance(value, list):
        return [plain(field, names) for field in value]
    return bytes(value) if isinstance(value, bytearray) else value
