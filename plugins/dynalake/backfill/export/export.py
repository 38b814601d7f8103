"""The exports of a run: requested once, watched until they are done, removed with their files.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/S3DataExport_Requesting.html

The requests are stored next to the run's plan, so a retry finds its export and does not request another. The
ClientToken protects the time between the request and that note: for eight hours, the same run requests the same export.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from dynalake.aws.answers import code_of, message_of
from dynalake.aws.s3 import Json
from dynalake.backfill.plan.run import BackfillPlan, load_plan, run_name
from dynalake.backfill.plan.windows import Window, split_window
from dynalake.backfill.source.recovery import recovery_off
from dynalake.backfill.source.source import describe
from dynalake.errors import AccessError, ConflictError, NotReadyError, SourceError, TransientError
from dynalake.lake.catalog.table import Table
from dynalake.names import TableNames

# Errors that a retry cannot change; all others may be faults of DynamoDB itself.
# https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_ExportDescription.html
_DENIED = ("S3AccessDenied", "S3NoSuchBucket", "KmsAccessDenied", "AccessDenied")


@dataclass(frozen=True)
class Export:
    """One export of a run: its window (None: the whole table), its attempt, and its ARN once it was requested."""

    window: Window | None
    attempt: int = 0
    arn: str = ""

    @property
    def id(self) -> str:
        """Id, such as `01693685827463-2d8752fd`."""
        return self.arn.rpartition("/")[2]

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Export:
        window = value["window"]
        return cls(None if window is None else (window[0], window[1]), value["attempt"], value["arn"])


@dataclass(frozen=True)
class Finished:
    """A completed export: the table as it was at `time` (milliseconds; an incremental export has none)."""

    export: Export
    items: int
    time: int | None


def plan_exports(plan: BackfillPlan) -> tuple[Export, ...]:
    """Return the exports that the run needs (pure)."""
    if plan.window is None:
        return (Export(None),)
    return tuple(Export(window) for window in split_window(plan.window))


def client_token(plan: BackfillPlan, export: Export) -> str:
    """Return the same token for the same export of the same run, and for no other (pure)."""
    text = f"{plan.table} {plan.run} {plan.read_at_ms} {export.window} {export.attempt}"
    return f"dynalake-{sha256(text.encode()).hexdigest()[:40]}"


def export_request(names: TableNames, plan: BackfillPlan, table_arn: str, export: Export) -> dict[str, Any]:
    """Return ExportTableToPointInTime's parameters (pure)."""
    request: dict[str, Any] = {
        "TableArn": table_arn,
        "ClientToken": client_token(plan, export),
        "S3Bucket": names.lake.bucket,
        "S3Prefix": names.export_prefix(plan.run).rstrip("/"),
        "ExportFormat": "DYNAMODB_JSON",
    }
    if names.lake.kms_key_arn:
        # By default DynamoDB encrypts with S3's own keys, not with the bucket's default.
        request |= {"S3SseAlgorithm": "KMS", "S3SseKmsKeyId": names.lake.kms_key_arn}
    if export.window is None:
        return request
    start, end = (datetime.fromtimestamp(moment, UTC) for moment in export.window)
    window = {"ExportFromTime": start, "ExportToTime": end, "ExportViewType": "NEW_AND_OLD_IMAGES"}
    return {**request, "ExportType": "INCREMENTAL_EXPORT", "IncrementalExportSpecification": window}


def exports_key(names: TableNames, run: str) -> str:
    """Return `{prefix}-state/{TABLE}/backfill/{run}/exports.json`"""
    return f"{names.backfill_state(run)}exports.json"


def load_exports(table: Table, run: str) -> tuple[tuple[Export, ...], Json | None]:
    """Return the run's exports as far as they were requested, and the stored version they were read from."""
    stored = table.store.read_json(exports_key(table.names, run))
    return (() if stored is None else tuple(map(Export.from_json, stored.value["exports"]))), stored


def request_exports(table: Table, *, run: str) -> tuple[Export, ...]:
    """Request the exports of the planned `run` (the Airflow run id) that were not requested yet, or have failed.

    Raises `SourceError` where point-in-time recovery is off or the table is gone, and `AccessError` where the export
    may not be made, or could not be written.
    """
    run = run_name(run)
    plan = load_plan(table, run)
    earlier, stored = load_exports(table, run)
    exports = list(earlier or plan_exports(plan))
    table_arn = ""
    for number, export in enumerate(exports):
        if export.arn:
            if _describe(table, export)["ExportStatus"] != "FAILED":
                continue
            export = replace(export, attempt=export.attempt + 1, arn="")
        table_arn = table_arn or describe(table, plan.table_id)["TableArn"]
        exports[number] = replace(export, arn=_request(table, export_request(table.names, plan, table_arn, export)))
        value = {"exports": [asdict(e) for e in exports]}
        stored = table.store.replace_json(exports_key(table.names, run), value, stored)
    return tuple(exports)


def check_exports(table: Table, exports: tuple[Export, ...]) -> tuple[Finished, ...]:
    """Return every export, completed. Raise `NotReadyError`, with the ARN, for the first that is still in progress.

    An export that failed is an `AccessError` where it could not be written, else a `TransientError`: the retry requests
    another.
    """
    finished = []
    for export in exports:
        description = _describe(table, export)
        if description["ExportStatus"] == "IN_PROGRESS":
            raise NotReadyError(f"The export {export.arn} is in progress", table=table.names.table, export=export.arn)
        if description["ExportStatus"] == "FAILED":
            raise _failed(table.names, export, description)
        moment = description.get("ExportTime") if export.window is None else None
        finished.append(
            Finished(
                export, description.get("ItemCount", 0), None if moment is None else int(moment.timestamp() * 1000)
            )
        )
    return tuple(finished)


def remove_exports(table: Table, *, run: str) -> int:
    """Delete every file of the run's exports, also of failed ones, unless the run keeps them. Return how many."""
    run = run_name(run)
    if load_plan(table, run).keep_export:
        return 0
    return table.store.delete_all([entry.key for entry in table.store.list(table.names.export_prefix(run))])


def _request(table: Table, request: dict[str, Any]) -> str:
    names = table.names
    try:
        return table.clients.dynamodb.export_table_to_point_in_time(**request)["ExportDescription"]["ExportArn"]
    except Exception as error:
        code, message = code_of(error), message_of(error)
        if code == "PointInTimeRecoveryUnavailableException":
            raise recovery_off(names, incremental="IncrementalExportSpecification" in request) from error
        if code in ("TableNotFoundException", "InvalidExportTimeException"):
            raise SourceError(
                f"DynamoDB cannot export {names.table!r}: {message}",
                allowed="an existing table, and a time since its point-in-time recovery was turned on",
                action="check the table's name and the window, and trigger dynalake_backfill again",
                table=names.table,
            ) from error
        if code == "AccessDeniedException":
            raise _denied(names, message) from error
        if code == "ExportConflictException":
            raise ConflictError(
                f"Another request has the token {request['ClientToken']!r}: {message}",
                allowed="one lake per bucket and prefix",
                action="trigger dynalake_backfill again: a new run has a token of its own",
                table=names.table,
            ) from error
        if code == "LimitExceededException":
            raise TransientError(
                f"DynamoDB has as many exports in progress as it allows: {message}",
                action="let the task retry, which waits for one of them to end",
                table=names.table,
            ) from error
        raise


def _describe(table: Table, export: Export) -> Mapping[str, Any]:
    try:
        return table.clients.dynamodb.describe_export(ExportArn=export.arn)["ExportDescription"]
    except Exception as error:
        if code_of(error) != "ExportNotFoundException":
            raise
        raise SourceError(
            f"The export {export.arn} no longer exists",
            allowed="an export that is younger than 90 days",
            action="trigger dynalake_backfill again: a new run makes a new export",
            table=table.names.table,
        ) from error


def _failed(names: TableNames, export: Export, description: Mapping[str, Any]) -> Exception:
    code, message = description.get("FailureCode", "unknown"), description.get("FailureMessage", "")
    if code in _DENIED:
        return _denied(names, f"{code} {message}")
    return TransientError(
        f"DynamoDB's export {export.arn} failed: {code} {message}",
        action="let the task retry: it requests another export",
        table=names.table,
        export=export.arn,
    )


def _denied(names: TableNames, message: str) -> AccessError:
    return AccessError(
        f"The export of {names.table!r} was refused: {message}",
        allowed="dynamodb:ExportTableToPointInTime, and s3:PutObject, s3:PutObjectAcl and s3:AbortMultipartUpload on "
        f"{names.uri(names.state_prefix)}",
        action="grant them to the connection's role (infra/cloudformation/airflow.yaml does), and clear the task",
        table=names.table,
    )
