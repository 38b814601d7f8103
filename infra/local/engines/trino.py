"""Trino, queried with its Python client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import trino.dbapi

from infra.local.engines.rows import plain
from infra.local.trino.server import CATALOG

USER = "dynalake"


@dataclass(frozen=True)
class Answer:
    """The rows of a query, and the cost of reading them."""

    rows: list[dict[str, Any]]
    input_bytes: int
    """Bytes read from S3, without footers and manifests."""
    input_rows: int
    """Rows read before any filter."""
    planning_s: float
    """Seconds of analysis and planning, in which the metadata is read."""


class Trino:
    """A client of the server at `url`; `database` is the default database."""

    def __init__(self, url: str, database: str = "default") -> None:
        address = urlsplit(url)
        connect: Any = trino.dbapi.connect  # it has no types
        self._connection = connect(
            host=address.hostname, port=address.port, user=USER, catalog=CATALOG, schema=database
        )

    def __call__(self, sql: str) -> list[dict[str, Any]]:
        """Return the rows of one statement. Raises `trino.exceptions.TrinoQueryError` if Trino refuses it."""
        return self.ask(sql).rows

    def ask(self, sql: str) -> Answer:
        """Return the rows of one statement, and how much Trino read for them."""
        cursor = self._connection.cursor()
        cursor.execute(sql)
        rows = cursor.fetchall()
        names = [column.name for column in cursor.description or []]
        if len(set(names)) < len(names):
            raise ValueError(f"Two columns have the same name: {names}. Give each its own name with AS.")
        stats: Mapping[str, Any] = cursor.stats or {}
        return Answer(
            [{name: plain(value, "_names") for name, value in zip(names, row, strict=True)} for row in rows],
            int(stats["physicalInputBytes"]),
            int(stats["processedRows"]),
            (stats["analysisTimeMillis"] + stats["planningTimeMillis"]) / 1000,
        )
