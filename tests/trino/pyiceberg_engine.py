"""pyiceberg as any user runs it: with its own `GlueCatalog`, without dynalake's rules for commits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyiceberg.catalog.glue import GlueCatalog
from pyiceberg.expressions import AlwaysTrue, BooleanExpression
from pyiceberg.table import Table

_ALL = AlwaysTrue()
_READS = ("Get", "BatchGet", "List", "Search")


def glue_catalog(aws: Mapping[str, str]) -> GlueCatalog:
    """Return pyiceberg's catalog of the Glue and S3 on local AWS.

    https://py.iceberg.apache.org/configuration/#glue-catalog
    """
    properties = {
        "glue.endpoint": aws["AWS_ENDPOINT_URL"],
        "s3.endpoint": aws["AWS_ENDPOINT_URL"],
        "client.region": aws["AWS_DEFAULT_REGION"],
        "client.access-key-id": aws["AWS_ACCESS_KEY_ID"],
        "client.secret-access-key": aws["AWS_SECRET_ACCESS_KEY"],
    }
    return GlueCatalog("lake", None, **properties)


def reading_catalog(aws: Mapping[str, str]) -> GlueCatalog:
    """Return a catalog that raises `PermissionError` before any change in Glue."""
    catalog = glue_catalog(aws)

    def refuse(model: Any, **_: Any) -> None:
        if not model.name.startswith(_READS):
            raise PermissionError(f"This catalog only reads: received {model.name}, allowed are {', '.join(_READS)}…")

    catalog.glue.meta.events.register("before-call.glue", refuse)
    return catalog


def metadata_location(catalog: GlueCatalog, name: str) -> str:
    """Return the location of the current metadata.json of `database.table`, for DuckDB."""
    return catalog.load_table(name).metadata_location


def pyiceberg_rows(table: Table, where: str | BooleanExpression = _ALL) -> list[dict[str, Any]]:
    """Return the rows of a table's current snapshot that match the filter."""
    return table.scan(row_filter=where).to_arrow().to_pylist(maps_as_pydicts="strict")
