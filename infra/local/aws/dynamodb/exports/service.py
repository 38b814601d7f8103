"""ExportTableToPointInTime, DescribeExport and ListExports.

https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_ExportTableToPointInTime.html
"""

from __future__ import annotations

import json
import threading
import time
from typing import Any

from ministack.core.responses import error_response_json, get_account_id, get_region, json_response, request_scope
from ministack.services import dynamodb

from infra.local.aws.dynamodb.exports import files, history
from infra.local.aws.iam import access
from infra.local.aws.patch import replace
from infra.local.aws.responses import ServiceError
from infra.local.aws.settings import scaled

PATH = "/_dynalake/exports"
EXPORT_SECONDS = 60.0
"""Duration of an export, scaled like every other wait; on AWS it takes at least a few minutes."""

TOKEN_SECONDS = 8 * 60 * 60
MINIMUM_WINDOW, MAXIMUM_WINDOW = 15 * 60, 24 * 60 * 60
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/S3DataExport_Requesting.html
NEEDED = ("s3:AbortMultipartUpload", "s3:PutObject", "s3:PutObjectAcl")

_may_end = threading.Event()
_may_end.set()


def hold(held: bool) -> None:
    """Let no export end while `held`; a call with False lets them end."""
    _may_end.clear() if held else _may_end.set()


def fail_unfinished() -> None:
    """End the restored exports that nobody writes any more."""
    for export in dynamodb._exports.all_values():
        if export["ExportStatus"] == "IN_PROGRESS":
            export |= {"ExportStatus": "FAILED", "EndTime": time.time()}
            export |= {"FailureCode": "InternalServerError", "FailureMessage": "Local AWS was stopped."}


@replace(dynamodb, "_export_table_to_point_in_time")
def export_table_to_point_in_time(request: dict[str, Any]) -> Any:
    """Write the export, which takes time; ministack's ends at once and writes nothing."""
    try:
        return json_response({"ExportDescription": _shown(_start(request))})
    except ServiceError as error:
        return error.response()


@replace(dynamodb, "_describe_export")
def describe_export(request: dict[str, Any]) -> Any:
    """Describe the export, without what is only kept here."""
    export = dynamodb._exports.get(request.get("ExportArn"))
    if export is None:
        return error_response_json("ExportNotFoundException", f"Export not found: {request.get('ExportArn')}", 400)
    return json_response({"ExportDescription": _shown(export)})


def _start(request: dict[str, Any]) -> dict[str, Any]:
    name = dynamodb._table_name_from_arn(request.get("TableArn"))
    if not name or name not in dynamodb._tables:
        raise ServiceError("TableNotFoundException", f"Table not found: {request.get('TableArn')}")
    parameters = {part: value for part, value in request.items() if part != "ClientToken"}
    token = request.get("ClientToken")
    for export in dynamodb._exports.values() if token else ():
        if export.get("ClientToken") == token and time.time() - export["StartTime"] < TOKEN_SECONDS:
            if export["_parameters"] == parameters:
                return dict(export)
            raise ServiceError("ExportConflictException", "Duplicate request detected")
    kept = history.of_table(name)
    if kept is None:
        raise ServiceError(
            "PointInTimeRecoveryUnavailableException", f"Point in time recovery is not enabled for table '{name}'"
        )
    started = time.time()
    description: dict[str, Any] = {
        "ExportArn": f"{request['TableArn']}/export/{int(started * 1000):014d}-{dynamodb.new_uuid()[:8]}",
        "ExportStatus": "IN_PROGRESS",
        "StartTime": started,
        "TableId": dynamodb._tables[name]["TableId"],
        "ExportFormat": "DYNAMODB_JSON",
        "ExportType": "FULL_EXPORT",
        **parameters,
        "_parameters": parameters,
    }
    if token:
        description["ClientToken"] = token
    if description["ExportFormat"] != "DYNAMODB_JSON":
        raise ServiceError("ValidationException", "local AWS writes exports in DYNAMODB_JSON only")
    lines = (
        _full(name, kept, description) if description["ExportType"] == "FULL_EXPORT" else _changes(kept, description)
    )
    dynamodb._exports[description["ExportArn"]] = description
    needed = [(action, f"arn:aws:s3:::{description['S3Bucket']}/{files.folder(description)}") for action in NEEDED]
    if key := description.get("S3SseKmsKeyId"):
        needed += [("kms:GenerateDataKey", key), ("kms:Decrypt", key)]
    allowed = access.caller_allows(needed)
    place = get_account_id(), get_region()
    threading.Thread(target=_finish, args=(place, description, lines, allowed), daemon=True).start()
    return description


def _full(name: str, kept: history.History, description: dict[str, Any]) -> list[tuple[str, str]]:
    moment = description.setdefault("ExportTime", description["StartTime"])
    micros = int(moment * 1_000_000)
    with dynamodb._lock:
        if "ExportTime" not in description["_parameters"]:
            items = history.state_at(name, kept, None)
        else:
            _check_recoverable(kept, micros)
            items = history.state_at(name, kept, micros)
    return [(key, f'{{"Item":{item}}}') for key, item in sorted(items.items())]


def _changes(kept: history.History, description: dict[str, Any]) -> list[tuple[str, str]]:
    window = description.get("IncrementalExportSpecification") or {}
    start, end = window.get("ExportFromTime"), window.get("ExportToTime", int(time.time()))
    if start is None:
        raise ServiceError("ValidationException", "ExportFromTime must be specified for an incremental export")
    if not MINIMUM_WINDOW <= end - start <= MAXIMUM_WINDOW:
        raise ServiceError("ValidationException", "The export period must be between 15 minutes and 24 hours")
    view = window.get("ExportViewType", "NEW_AND_OLD_IMAGES")
    description["IncrementalExportSpecification"] = {
        "ExportFromTime": start,
        "ExportToTime": end,
        "ExportViewType": view,
    }
    for moment in (start, end):
        _check_recoverable(kept, int(moment * 1_000_000))
    with dynamodb._lock:
        changes = history.final_states(kept, int(start * 1_000_000), int(end * 1_000_000))
    return [(change.key, files.change_line(change, view)) for change in sorted(changes, key=lambda c: c.key)]


def _check_recoverable(kept: history.History, micros: int) -> None:
    # The window is in whole seconds.
    if not history.earliest(kept) // 1_000_000 * 1_000_000 <= micros <= history.now_micros():
        raise ServiceError(
            "InvalidExportTimeException", "The specified ExportTime is outside of the point in time recovery window"
        )


def _finish(place: tuple[str, str], description: dict[str, Any], lines: Any, allowed: bool) -> None:
    with request_scope(*place):
        failure = files.begin(description) if allowed else ("S3AccessDenied", "Access denied when writing to S3")
        time.sleep(scaled(EXPORT_SECONDS))
        _may_end.wait()
        if failure is None:
            failure = files.write(description, lines)
        if failure is not None:
            description["FailureCode"], description["FailureMessage"] = failure
        description["EndTime"] = time.time()
        description["ExportStatus"] = "COMPLETED" if failure is None else "FAILED"


def _shown(description: dict[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps({k: v for k, v in description.items() if k != "_parameters"}))  # type: ignore[no-any-return]
