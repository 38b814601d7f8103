"""The life of a query execution: submitted, run on a thread, results stored, answered by the API.

https://docs.aws.amazon.com/athena/latest/APIReference/API_QueryExecution.html
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from ministack.core.responses import error_response_json, json_response, new_uuid
from ministack.services import athena

from infra.local.corrections.athena import results, statements, storage, workgroups
from infra.local.corrections.athena.errors import QueryError

_logger = logging.getLogger("athena")
_POOL = ThreadPoolExecutor(max_workers=8, thread_name_prefix="athena")
_FINAL = ("SUCCEEDED", "FAILED", "CANCELLED")
_PAGE = 1000


@dataclass(frozen=True)
class _Answer:
    """What GetQueryResults answers from."""

    schema: pa.Schema
    rows: list[results.Row]
    update_count: int


def start(request: dict[str, Any]) -> Any:
    """StartQueryExecution."""
    workgroup = request.get("WorkGroup", "primary")
    if workgroup not in athena._workgroups:
        return _invalid(f"WorkGroup {workgroup} is not found.")
    location = _output_location(request, workgroups.configuration(workgroup))
    if not location:
        return _invalid(
            "No output location provided. An output location is required either through the Workgroup result "
            "configuration setting or as an API input."
        )
    sql = str(request.get("QueryString", ""))
    if not statements.clean(sql):
        return _invalid("Query string is empty")
    token = request.get("ClientRequestToken")
    for known in athena._executions.values():
        if token and known.get("_token") == token:
            return json_response({"QueryExecutionId": known["QueryExecutionId"]})
    query_id = new_uuid()
    context = request.get("QueryExecutionContext", {})
    execution: dict[str, Any] = {
        "QueryExecutionId": query_id,
        "Query": sql,
        "StatementType": statements.kind(sql),
        "ResultConfiguration": {"OutputLocation": _result_key(location, query_id, sql)},
        "ResultReuseConfiguration": {"ResultReuseByAgeConfiguration": {"Enabled": False}},
        "QueryExecutionContext": {
            "Database": context.get("Database", "default"),
            "Catalog": context.get("Catalog", "AwsDataCatalog"),
        },
        "Status": {"State": "QUEUED", "SubmissionDateTime": time.time()},
        "Statistics": {},
        "WorkGroup": workgroup,
        "EngineVersion": workgroups.ENGINE_VERSION,
        "_token": token,
        "_parameters": request.get("ExecutionParameters") or [],
    }
    athena._executions[query_id] = execution
    run_context = statements.Context(query_id, execution["QueryExecutionContext"]["Database"], location)
    # The account and region of the request are context variables, which a pool's threads do not inherit.
    variables = copy_context()
    asyncio.get_running_loop().run_in_executor(_POOL, variables.run, _run, execution, run_context)
    return json_response({"QueryExecutionId": query_id})


def get_results(request: dict[str, Any]) -> Any:
    """GetQueryResults."""
    execution = athena._executions.get(request.get("QueryExecutionId"))
    if execution is None:
        return _invalid(f"QueryExecution {request.get('QueryExecutionId')} was not found")
    state = execution["Status"]["State"]
    if state == "FAILED":
        return _invalid(f"Query did not finish successfully. Final query state: {state}")
    if state != "SUCCEEDED":
        return _invalid(f"Query has not yet finished. Current state: {state}")
    answer: _Answer = execution["_answer"]
    first = int(request.get("NextToken") or 0)
    last = first + min(int(request.get("MaxResults") or _PAGE), _PAGE)
    response: dict[str, Any] = {
        "UpdateCount": answer.update_count,
        "ResultSet": {
            "Rows": [{"Data": [_datum(cell) for cell in row]} for row in answer.rows[first:last]],
            "ResultSetMetadata": {"ColumnInfo": [results.column_info(field) for field in answer.schema]},
        },
    }
    if last < len(answer.rows):
        response["NextToken"] = str(last)
    return json_response(response)


def stop(request: dict[str, Any]) -> Any:
    """StopQueryExecution."""
    execution = athena._executions.get(request.get("QueryExecutionId"))
    if execution is None:
        return _invalid(f"QueryExecution {request.get('QueryExecutionId')} was not found")
    if execution["Status"]["State"] not in _FINAL:
        execution["Status"].update(
            State="CANCELLED", StateChangeReason="Query cancelled by user", CompletionDateTime=time.time()
        )
    return json_response({})


def _invalid(message: str) -> Any:
    return error_response_json("InvalidRequestException", message, 400)


def _output_location(request: dict[str, Any], configuration: dict[str, Any]) -> str:
    of_workgroup = str(configuration["ResultConfiguration"].get("OutputLocation") or "")
    of_request = str((request.get("ResultConfiguration") or {}).get("OutputLocation") or "")
    if configuration["EnforceWorkGroupConfiguration"] and of_workgroup:
        return of_workgroup
    return of_request or of_workgroup


def _result_key(location: str, query_id: str, sql: str) -> str:
    folder = location.rstrip("/")
    if statements.is_create_as(sql):
        return f"{folder}/tables/{query_id}"
    if statements.kind(sql) != "DML":
        return f"{folder}/{query_id}.txt"
    return f"{folder}/{query_id}" if statements.writes_files(sql) else f"{folder}/{query_id}.csv"


def _run(execution: dict[str, Any], context: statements.Context) -> None:
    status = execution["Status"]
    started = time.monotonic()
    if status["State"] != "CANCELLED":
        status["State"] = "RUNNING"
    try:
        outcome = statements.run(_with_parameters(execution), context)
        answer = _stored(execution, outcome)
    except QueryError as error:
        _finish(execution, started, "FAILED", str(error))
        return
    except Exception as error:
        # The API must report a defect of the emulation as a failed query too, never leave it running.
        _logger.exception("query %s", execution["QueryExecutionId"])
        _finish(execution, started, "FAILED", f"GENERIC_INTERNAL_ERROR: {type(error).__name__}: {error}")
        return
    execution["_answer"] = answer
    execution["SubstatementType"] = outcome.substatement
    execution["Statistics"]["DataScannedInBytes"] = outcome.bytes_scanned
    if outcome.manifest:
        execution["Statistics"]["DataManifestLocation"] = outcome.manifest
    _finish(execution, started, "SUCCEEDED", "")


def _finish(execution: dict[str, Any], started: float, state: str, reason: str) -> None:
    took = int((time.monotonic() - started) * 1000)
    execution["Statistics"].setdefault("DataScannedInBytes", 0)
    execution["Statistics"].update(
        EngineExecutionTimeInMillis=took,
        TotalExecutionTimeInMillis=took,
        QueryQueueTimeInMillis=0,
        QueryPlanningTimeInMillis=0,
        ServiceProcessingTimeInMillis=0,
    )
    status = execution["Status"]
    if status["State"] == "CANCELLED":
        return
    if reason:
        status["StateChangeReason"] = reason
        user = not reason.startswith("GENERIC_INTERNAL_ERROR")
        category = 2 if user else 1
        status["AthenaError"] = {"ErrorCategory": category, "ErrorMessage": reason, "Retryable": False}
    status["CompletionDateTime"] = time.time()
    # Last: whoever sees the final state finds the rest in place.
    status["State"] = state


def _with_parameters(execution: dict[str, Any]) -> str:
    sql = str(execution["Query"])
    parameters = execution["_parameters"]
    return statements.bind(sql, parameters) if parameters else sql


def _stored(execution: dict[str, Any], outcome: statements.Outcome) -> _Answer:
    """Write the result objects, and keep what GetQueryResults answers."""
    location = execution["ResultConfiguration"]["OutputLocation"]
    names = outcome.schema.names
    if outcome.rows is not None:
        rows = results.rows(outcome.rows, outcome.schema)
        storage.write(location, results.csv(names, rows))
        _write_metadata(f"{location}.metadata", outcome.schema)
        return _Answer(outcome.schema, [list(names), *rows], 0)
    if outcome.manifest:
        _write_metadata(outcome.manifest.replace("-manifest.csv", ".metadata"), outcome.schema)
        return _Answer(outcome.schema, [[str(outcome.update_count)]] if names else [], outcome.update_count)
    text = "".join("\t".join(line) + "\n" for line in outcome.lines)
    storage.write(location, text.encode())
    _write_metadata(f"{location}.metadata", outcome.schema)
    return _Answer(outcome.schema, [["\t".join(line)] for line in outcome.lines], 0)


def _write_metadata(uri: str, schema: pa.Schema) -> None:
    """AWS's own metadata files are binary and undocumented; these say the same in JSON."""
    content = {"columns": [results.column_info(field) for field in schema]}
    storage.write(uri, json.dumps(content).encode())


def _datum(cell: str | None) -> dict[str, str]:
    return {} if cell is None else {"VarCharValue": cell}
