"""Trino, asked through its Python client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import trino.dbapi
from trino.types import NamedRowTuple

from infra.local.trino.server import CATALOG

USER = "dynalake"


@dataclass(frozen=True)
class Answer:
    """The rows of a query, and what they cost."""

    rows: list[dict[str, Any]]
    input_bytes: int
    """Bytes read from S3, footers and manifests not counted."""
    input_rows: int
    """Rows that were read before any filter."""
    seconds: float


class Trino:
    """A client of the server at `url`; `database` is where names without one are looked up."""

    def __init__(self, url: str, database: str = "default") -> None:
        address = urlsplit(url)
        connect: Any = trino.dbapi.connect  # it has no types
        self._connection = connect(
            host=address.hostname, port=address.port, user=USER, catalog=CATALOG, schema=database
        )

    def __call__(self, sql: str) -> list[dict[str, Any]]:
        """Return the rows of one statement. Raises `trino.exceptions.TrinoQueryError` where Trino refuses it."""
        return self.ask(sql).rows

    def ask(self, sql: str) -> Answer:
        """Return the rows of one statement together with what Trino read for them."""
        cursor = self._connection.cursor()
        cursor.execute(sql)
        rows = cursor.fetchall()
        names = [column.name for column in cursor.description or []]
        if len(set(names)) < len(names):
            raise ValueError(f"Two columns have one name: {names}. Name each with AS.")
        stats: Mapping[str, Any] = cursor.stats or {}
        return Answer(
            [{name: _plain(value) for name, value in zip(names, row, strict=True)} for row in rows],
            int(stats["physicalInputBytes"]),
            int(stats["processedRows"]),
            stats["elapsedTimeMillis"] / 1000,
        )


def _plain(value: Any) -> Any:
    """A struct comes as a tuple that knows its fields' names."""
    if isinstance(value, NamedRowTuple):
        return {name: _plain(field) for name, field in zip(value._names, value, strict=True)}
    if isinstance(value, dict):
        return {key: _plain(field) for key, field in value.items()}
    if isinstance(value, list):
        return [_plain(field) for field in value]
    return value
