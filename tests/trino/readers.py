"""The fixture `read_table`: the names of its engines, and its type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

ENGINES = ("trino", "spark", "duckdb", "pyiceberg")
"""Engines of `read_table`."""

ReadTable = Callable[..., list[dict[str, Any]]]
