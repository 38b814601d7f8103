"""The Glue tables, partitions and views that a query names."""

from __future__ import annotations

import base64
import binascii
import datetime
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Any

import pyarrow as pa
from ministack.services import glue

from infra.local.corrections.athena import types
from infra.local.corrections.athena.errors import QueryError

CATALOG = "awsdatacatalog"
PARTITIONS_SUFFIX = "$partitions"
NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"
_VIEW_PREFIX, _VIEW_SUFFIX = "/* Presto View: ", " */"


@dataclass(frozen=True)
class Partition:
    """One registered partition: its values in the order of the keys, and where its files are."""

    values: tuple[str, ...]
    location: str


@dataclass(frozen=True)
class Table:
    """A table as the catalog describes it."""

    database: str
    name: str
    columns: pa.Schema
    keys: pa.Schema
    location: str
    serde: str
    input_format: str
    properties: Mapping[str, str]
    parameters: Mapping[str, str]

    @property
    def full_name(self) -> str:
        """`database.table`, as errors name it."""
        return f"{self.database}.{self.name}"


@dataclass(frozen=True)
class View:
    """A view as Athena stores it: the query, where its names resolve, and the columns it promised."""

    database: str
    name: str
    sql: str
    schema: str
    columns: pa.Schema

    @property
    def full_name(self) -> str:
        """`database.view`, as errors name it."""
        return f"{self.database}.{self.name}"


def find(database: str, name: str) -> dict[str, Any] | None:
    """The Glue table of that name, which the catalog keeps in lower case."""
    found: dict[str, Any] | None = glue._tables.get(f"{database.lower()}/{name.lower()}")
    return found or glue._tables.get(f"{database}/{name}")


def get(database: str, name: str) -> Table | View:
    """The table or view; QueryError if there is none."""
    found = find(database, name)
    if found is None:
        raise QueryError("TABLE_NOT_FOUND", f"Table '{CATALOG}.{database.lower()}.{name.lower()}' does not exist")
    if is_view(found):
        return parse_view(database, found)
    return parse_table(database, found)


def is_view(found: Mapping[str, Any]) -> bool:
    """Whether a Glue table is a view."""
    return found.get("TableType") == "VIRTUAL_VIEW"


def parse_table(database: str, found: Mapping[str, Any]) -> Table:
    """The table that a Glue record describes."""
    storage = found.get("StorageDescriptor") or {}
    serde = storage.get("SerdeInfo") or {}
    return Table(
        database=database.lower(),
        name=str(found["Name"]),
        columns=_schema(storage.get("Columns") or []),
        keys=_schema(found.get("PartitionKeys") or []),
        location=str(storage.get("Location") or ""),
        serde=str(serde.get("SerializationLibrary") or ""),
        input_format=str(storage.get("InputFormat") or ""),
        properties=dict(serde.get("Parameters") or {}),
        parameters=dict(found.get("Parameters") or {}),
    )


def parse_view(database: str, found: Mapping[str, Any]) -> View:
    """The view that a Glue record describes."""
    name = str(found["Name"])
    text = str(found.get("ViewOriginalText") or "").strip()
    if not text.startswith(_VIEW_PREFIX.strip()):
        raise QueryError("HIVE_INVALID_VIEW_DATA", f"View '{database}.{name}' is no Presto view: {text[:60]!r}")
    encoded = text.removeprefix(_VIEW_PREFIX.strip()).removesuffix(_VIEW_SUFFIX.strip()).strip()
    try:
        definition = json.loads(base64.b64decode(encoded, validate=True))
        columns = pa.schema([(str(c["name"]), types.parse(str(c["type"]))) for c in definition["columns"]])
        sql = str(definition["originalSql"])
    except (binascii.Error, ValueError, KeyError, TypeError) as error:
        raise QueryError("HIVE_INVALID_VIEW_DATA", f"View '{database}.{name}' cannot be decoded: {error!r}") from None
    return View(database.lower(), name, sql, str(definition.get("schema") or database), columns)


def view_input(name: str, sql: str, schema: str, columns: pa.Schema) -> dict[str, Any]:
    """The Glue TableInput with which Athena stores a view."""
    definition = {
        "originalSql": sql,
        "catalog": CATALOG,
        "schema": schema,
        "columns": [{"name": column.name, "type": types.trino(column.type)} for column in columns],
    }
    encoded = base64.b64encode(json.dumps(definition).encode()).decode()
    return {
        "Name": name.lower(),
        "TableType": "VIRTUAL_VIEW",
        "Parameters": {"presto_view": "true", "comment": "Presto View"},
        "StorageDescriptor": {
            "Columns": [{"Name": column.name, "Type": types.hive(column.type)} for column in columns],
            "Location": "",
            "SerdeInfo": {},
        },
        "PartitionKeys": [],
        "ViewOriginalText": f"{_VIEW_PREFIX}{encoded}{_VIEW_SUFFIX}",
        "ViewExpandedText": "/* Presto View */",
    }


def partitions(table: Table) -> list[Partition]:
    """The registered partitions, in the order of their values."""
    name = table.name.removesuffix(PARTITIONS_SUFFIX)
    found = list(glue._partitions.get(f"{table.database}/{name}", []))
    parsed = [
        Partition(
            tuple(str(value) for value in record["Values"]),
            str((record.get("StorageDescriptor") or {}).get("Location") or table.location),
        )
        for record in found
    ]
    return sorted(parsed, key=lambda partition: partition.values)


def key_value(text: str, kind: pa.DataType) -> Any:
    """A partition key's value of its declared type."""
    if text == NULL_PARTITION:
        return None
    try:
        if pa.types.is_integer(kind):
            return int(text)
        if pa.types.is_floating(kind):
            return float(text)
        if pa.types.is_decimal(kind):
            return Decimal(text)
        if pa.types.is_date(kind):
            return datetime.date.fromisoformat(text)
        if pa.types.is_timestamp(kind):
            return datetime.datetime.fromisoformat(text)
        if pa.types.is_boolean(kind):
            return {"true": True, "false": False}[text.lower()]
    except (ValueError, InvalidOperation, KeyError):
        raise QueryError(
            "HIVE_INVALID_PARTITION_VALUE", f"Invalid partition value {text!r} for a {types.trino(kind)} key"
        ) from None
    return text


def _schema(columns: list[Mapping[str, Any]]) -> pa.Schema:
    return pa.schema([(str(c["Name"]).lower(), types.parse(str(c.get("Type") or "string"))) for c in columns])


def partitions_table(table: Table) -> Table:
    """`"table$partitions"`: one row of key values for each registered partition."""
    return replace(table, name=f"{table.name}{PARTITIONS_SUFFIX}", columns=pa.schema([]))
