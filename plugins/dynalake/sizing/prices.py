"""AWS's list prices: those of one region on one day, from `prices.json`."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("prices.json")


@cache
def _file() -> dict[str, Any]:
    return dict(json.loads(FILE.read_text(encoding="utf-8")))


def price(name: str) -> float:
    """Return the dollars of one unit of something that AWS bills."""
    return float(_file()["prices"][name]["dollars"])


def where_and_when() -> str:
    """Return whose prices these are: `us-east-1, 2026-11-30`."""
    return f"{_file()['region']}, {_file()['date']}"
