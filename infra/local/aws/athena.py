"""Athena, with a local Trino as its engine, as Athena's own is a Trino: queries, their results in S3 and by the API.

`LocalTrino` announces itself at `/_dynalake/trino`. Until one has, a query fails and says so.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
import urllib.request
from collections.abc import Iterable
from typing import Any

from ministack.services import athena

from infra.local.aws.patch import Original, patch
from infra.local.aws.s3 import objects

PATH = "/_dynalake/trino"
_USER = "athena"
_CATALOG = "awsdatacatalog"
_ATTEMPT_SECONDS = 60

_trino: list[str] = []


def use(url: str) -> None:
    """Run queries on this Trino from now on."""
    _trino[:] = [url]


class QueryFailedError(Exception):
    """Trino refused the query."""


@patch(athena, "_start_query_execution")
def start_query_execution(original: Original, request: dict[str, Any]) -> Any:
    """A workgroup that enforces its configuration decides where results go.

    https://docs.aws.amazon.com/athena/latest/ug/workgroups-settings-override.html
    """
    group = athena._workgroups.get(request.get("WorkGroup", "primary"), {}).get("Configuration", {})
    # By default, a workgroup enforces it.
    if group.get("EnforceWorkGroupConfiguration", True) and "OutputLocation" in group.get("ResultConfiguration", {}):
        request = {**request, "ResultConfiguration": {}}
    return original(request)


@patch(athena, "_execute_query")
async def execute_query(
    original: Original, query_id: str, query: str, database: str, ddl: Any, catalog: str | None = None
) -> None:
    """Trino runs the query; the result is at the location that GetQueryExecution says.

    https://docs.aws.amazon.com/athena/latest/ug/querying.html#query-output
    """
    if ddl is not None:
        await original(query_id, query, database, ddl, catalog)
        return
    await asyncio.to_thread(_execute, athena._executions[query_id], query, database)


@patch(athena, "_get_query_results")
def get_query_results(original: Original, request: dict[str, Any]) -> Any:
    """Decimals have their precision and scale."""
    status, headers, body = original(request)
    if status != 200:
        return status, headers, body
    answer = json.loads(body)
    types = athena._executions[request["QueryExecutionId"]].get("_trino_types", ())
    for column, of in zip(answer["ResultSet"]["ResultSetMetadata"]["ColumnInfo"], types, strict=False):
        if digits := re.fullmatch(r"decimal\((\d+), ?(\d+)\)", of):
            column["Precision"], column["Scale"] = map(int, digits.groups())
    return status, headers, json.dumps(answer).encode()


def _execute(execution: dict[str, Any], query: str, database: str) -> None:
    status, statistics, started = execution["Status"], execution["Statistics"], time.monotonic()
    status["State"], state = "RUNNING", "SUCCEEDED"
    try:
        columns, rows, read = _query(query.rstrip().rstrip(";"), database)
        names, types = [column["name"] for column in columns], [column["type"] for column in columns]
        kinds = [column["typeSignature"] for column in columns]
        texts = [[_text(value, of) for value, of in zip(row, kinds, strict=True)] for row in rows]
        _write(execution["ResultConfiguration"]["OutputLocation"], names, texts)
        execution["_results"] = {"columns": names, "rows": texts}
        execution["_column_types"] = [re.sub(r"\(.*?\)(?= |$)", "", of) for of in types]
        execution["_trino_types"] = types
        statistics["DataScannedInBytes"] = read
    except (QueryFailedError, OSError) as error:
        state, status["StateChangeReason"] = "FAILED", str(error)
    elapsed = int((time.monotonic() - started) * 1000)
    statistics.update(EngineExecutionTimeInMillis=elapsed, TotalExecutionTimeInMillis=elapsed)
    status["CompletionDateTime"] = int(time.time())
    status["State"] = state  # the last: a client may read all of it now


def _query(query: str, database: str) -> tuple[list[dict[str, Any]], list[list[Any]], int]:
    """Return Trino's columns and rows, and the bytes that it read: https://trino.io/docs/current/develop/client-protocol.html"""
    if not _trino:
        raise QueryFailedError("Local Athena runs its queries on a Trino, and none is there: run `make trino`")
    headers = {"X-Trino-User": _USER, "X-Trino-Catalog": _CATALOG, "X-Trino-Schema": database or "default"}
    url: str | None = f"{_trino[0]}/v1/statement"
    body: bytes | None = query.encode()
    columns: list[dict[str, Any]] = []
    rows: list[list[Any]] = []
    read = 0
    while url:
        request = urllib.request.Request(url, data=body, headers=headers)
        with urllib.request.urlopen(request, timeout=_ATTEMPT_SECONDS) as response:
            # Numbers stay as Trino writes them.
            page = json.loads(response.read(), parse_float=str)
        if "error" in page:
            raise QueryFailedError(f"{page['error']['errorName']}: {page['error']['message']}")
        columns = page.get("columns") or columns
        rows.extend(page.get("data") or ())
        read = page["stats"].get("physicalInputBytes", read)
        url, body = page.get("nextUri"), None
    return columns, rows, read


def _text(value: Any, of: dict[str, Any]) -> str | None:
    """Return a value as Athena writes it, such as `[{article=x, price=150.0}]`; None for a null."""
    if value is None:
        return None
    inner = [argument["value"] for argument in of["arguments"]]
    match of["rawType"]:
        case "array":
            return f"[{', '.join(_nested(element, inner[0]) for element in value)}]"
        case "map":
            return f"{{{', '.join(f'{key}={_nested(of_key, inner[1])}' for key, of_key in value.items())}}}"
        case "row":
            names = [field["fieldName"]["name"] for field in inner]
            fields = (_nested(v, field["typeSignature"]) for v, field in zip(value, inner, strict=True))
            return f"{{{', '.join(f'{name}={text}' for name, text in zip(names, fields, strict=True))}}}"
        case "boolean":
            return "true" if value else "false"
    return str(value)


def _nested(value: Any, of: Any) -> str:
    # A simple type is given by its signature too, or by its name alone.
    text = _text(value, of if isinstance(of, dict) else {"rawType": of, "arguments": ()})
    return "null" if text is None else text


def _write(location: str, names: Iterable[str], rows: Iterable[Iterable[str | None]]) -> None:
    """Write the result as Athena does: each value in quotes, a null as nothing."""
    bucket, _, key = location.removeprefix("s3://").partition("/")
    quoted = (
        ["" if text is None else '"{}"'.format(text.replace('"', '""')) for text in row] for row in (names, *rows)
    )
    code, _ = objects.put(bucket, key, "".join(f"{','.join(line)}\n" for line in quoted).encode())
    if code != 200:
        raise QueryFailedError(f"Unable to write to the output location {location}: S3 answers {code}")
