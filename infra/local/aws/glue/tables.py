"""Tables: validated when written, numbered by version, and updated only from the latest version.

https://docs.aws.amazon.com/glue/latest/dg/aws-glue-api-catalog-tables.html
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

from ministack.core.responses import get_account_id
from ministack.services import glue

from infra.local.aws.glue.answers import (
    Request,
    Response,
    answer,
    copied,
    guarded,
    invalid,
    missing,
    page,
    table,
)
from infra.local.aws.patch import replace
from infra.local.aws.responses import ServiceError

_NAME = re.compile("[\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff\t]{1,255}")
_LONGEST_TYPE = 131072
_LONGEST_COMMENT = 255
_LONGEST_PARAMETER = 512000
# In bytes: https://docs.aws.amazon.com/glue/latest/dg/aws-glue-api-catalog-tables.html
_LONGEST = {
    "Description": 2048,
    "Owner": 255,
    "TableType": 255,
    "ViewOriginalText": 409600,
    "ViewExpandedText": 409600,
}


@replace(glue, "_create_table")
@guarded
def create(request: Request) -> Response:
    """CreateTable."""
    database = _database(request)
    table_input = request.get("TableInput") or {}
    _check(table_input)
    key = f"{database}/{table_input['Name']}"
    if key in glue._tables:
        raise ServiceError("AlreadyExistsException", "Table already exists.")
    now = time.time()
    glue._tables[key] = _stored(table_input, database, "0", now, now)
    return answer({})


@replace(glue, "_update_table")
@guarded
def update(request: Request) -> Response:
    """UpdateTable: replace the whole definition; refuse a VersionId that is not current."""
    table_input = request.get("TableInput") or {}
    key, current = table({**request, "TableName": table_input.get("Name", "")})
    expected = request.get("VersionId")
    if expected is not None and str(expected) != current["VersionId"]:
        raise ServiceError(
            "ConcurrentModificationException",
            f"Update table failed due to concurrent modifications: version {expected} was expected, "
            f"the table is at {current['VersionId']}.",
        )
    _check(table_input)
    version = str(int(current["VersionId"]) + 1)
    stored = _stored(table_input, current["DatabaseName"], version, current["CreateTime"], time.time())
    glue._tables[key] = stored
    return answer({})


@replace(glue, "_get_tables")
@guarded
def get_all(request: Request) -> Response:
    """GetTables: return a page of the tables whose whole name matches the regular expression."""
    database = _database(request)
    pattern = str(request.get("Expression") or "")
    try:
        # Glue's own consoles and clients also pass a trailing `*`.
        matches = re.compile(pattern.replace(".*", "*").replace("*", ".*") or ".*").fullmatch
    except re.error as error:
        raise invalid(f"Invalid Expression {pattern!r}: {error}") from None
    tables = [t for k, t in sorted(glue._tables.items()) if k.startswith(f"{database}/") and matches(t["Name"])]
    shown, more = page(tables, request, 100)
    return answer({"TableList": shown, **more})


def _database(request: Request) -> str:
    database = str(request.get("DatabaseName", ""))
    if database not in glue._databases:
        raise missing(f"Database {database} not found.")
    return database


def _stored(
    table_input: Mapping[str, Any], database: str, version_id: str, created: float, updated: float
) -> dict[str, Any]:
    return {
        **copied(table_input),
        "DatabaseName": database,
        "CreateTime": created,
        "UpdateTime": updated,
        "Retention": table_input.get("Retention", 0),
        "CreatedBy": f"arn:aws:iam::{get_account_id()}:root",
        "IsRegisteredWithLakeFormation": False,
        "CatalogId": get_account_id(),
        "VersionId": version_id,
    }


def _check(table_input: Mapping[str, Any]) -> None:
    name = str(table_input.get("Name") or "")
    if not _NAME.fullmatch(name):
        raise invalid(f"Invalid table name: {name!r}")
    for field, most in _LONGEST.items():
        _check_length(field, table_input.get(field), most)
    for parameter, value in (table_input.get("Parameters") or {}).items():
        _check_length("A parameter's name", parameter, 255)
        _check_length(f"The parameter {parameter}", value, _LONGEST_PARAMETER)
    columns = (table_input.get("StorageDescriptor") or {}).get("Columns") or []
    seen: set[str] = set()
    for column in [*columns, *(table_input.get("PartitionKeys") or [])]:
        column_name = str(column.get("Name") or "")
        if not _NAME.fullmatch(column_name):
            raise invalid(f"Invalid column name: {column_name!r}")
        _check_length(f"The type of column {column_name!r}", column.get("Type"), _LONGEST_TYPE)
        _check_length(f"The comment of column {column_name!r}", column.get("Comment"), _LONGEST_COMMENT)
        if column_name.lower() in seen:
            raise invalid(f"Table {name} has the column {column_name!r} more than once")
        seen.add(column_name.lower())


def _check_length(what: str, value: Any, most: int) -> None:
    if len(str(value or "").encode()) > most:
        raise invalid(f"{what} is longer than {most} bytes")
