"""Lambda's event source mappings on DynamoDB streams: batches, retries, bisection, partial responses.

Each mapping with records to read has its own thread, so a slow function delays no other. A mapping
without records costs a comparison at each write.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections import deque
from typing import Any

from ministack.core.responses import request_scope
from ministack.services import dynamodb, lambda_svc

from infra.local.aws import faults, metrics
from infra.local.aws.iam import access, function_role
from infra.local.aws.lambda_ import failed_batches, mapping_lifecycle
from infra.local.aws.lambda_.stream_batches import (
    Batch,
    Record,
    created,
    discard_condition,
    first_failure,
    settle,
)
from infra.local.aws.patch import Original, patch, replace
from infra.local.aws.settings import scaled, unscaled

MAXIMUM_PAYLOAD_BYTES = 6 * 1024 * 1024

_POLL_SECONDS = 0.02
_FIRST_RETRY_SECONDS = 0.05
_LAST_RETRY_SECONDS = 0.2
# AWS polls four times a second; its metrics have one point a minute.
_EMPTY_POLL_SECONDS = 30.0

Mapping = dict[str, Any]

_running: set[str] = set()
_polled_at: dict[str, float] = {}
_lock = threading.Lock()


@patch(lambda_svc, "_execute_function_dispatch")
def invoke(
    original: Original, function: Any, config: dict[str, Any], event: Any, request_id: str, started: float
) -> Any:
    """Fail if the environment cannot be decrypted, or if a test requests it."""
    if not function_role.may_start(config):
        error = {"errorType": "KMSAccessDeniedException", "errorMessage": "Lambda cannot decrypt the environment."}
        return {"body": error, "error": True, "function_error": "Unhandled", "log": ""}
    fault = faults.take("lambda", "Invoke", config.get("FunctionName", ""))
    if fault is not None and fault.hits():
        if fault.after:
            original(function, config, event, request_id, started)
        error = {"errorType": fault.code, "errorMessage": fault.message}
        return {"body": error, "error": True, "function_error": "Unhandled", "log": ""}
    return original(function, config, event, request_id, started)


@replace(lambda_svc, "_poll_dynamodb_streams")
def start_readers() -> bool:
    """Start a thread for each mapping that has records to read; always return False (nothing read here)."""
    for account, region, mapping in lambda_svc._iter_all_esms():
        table = _source_table(mapping)
        if table is None:
            continue
        with request_scope(account, region):
            reader = _Reader(account, region, mapping, table)
            with _lock:
                if mapping["UUID"] in _running:
                    continue
                if has_records := reader.has_records():
                    _running.add(mapping["UUID"])
            if not has_records:
                reader.poll_in_vain()
                continue
        name = f"mapping-{mapping['UUID']}"
        threading.Thread(target=reader.run, name=name, daemon=True).start()
    # True would make ministack's loop poll again at once.
    return False


def _source_table(mapping: Mapping) -> str | None:
    resource = str(mapping.get("EventSourceArn", "")).split(":", 5)[-1].split("/")
    return resource[1] if len(resource) == 4 and resource[2] == "stream" else None


class _Reader:
    """Reads one mapping's stream from its position to the end."""

    def __init__(self, account: str, region: str, mapping: Mapping, table: str) -> None:
        self._account = account
        self._region = region
        self._mapping = mapping
        self._table = table
        self._pending: deque[Batch] = deque()
        self._pause = _FIRST_RETRY_SECONDS

    def has_records(self) -> bool:
        """Return whether the mapping is enabled and its stream has records that it has not read."""
        return self._polls() and bool(self._position() < dynamodb.stream_end_position(self._table))

    def poll_in_vain(self) -> None:
        """Count an empty poll of a mapping that is enabled and may read its stream."""
        now = time.time()
        if now - _polled_at.get(self._mapping["UUID"], 0) < scaled(_EMPTY_POLL_SECONDS) or not self._polls():
            return
        function = self._function()
        if function is not None and self._may_read(function):
            _polled_at[self._mapping["UUID"]] = now
            failed_batches.count(self._mapping, "PolledEventCount", 0)

    def _polls(self) -> bool:
        table = dynamodb._tables.get(self._table)
        return self._active() and bool(table) and table["LatestStreamArn"] == self._mapping["EventSourceArn"]

    def _function(self) -> Any:
        name, qualifier = self._mapping["FunctionName"], self._mapping.get("Qualifier")
        return lambda_svc._get_func_record_for_qualifier(name, qualifier)[0]

    def run(self) -> None:
        """Send batches until the stream is read or the mapping is disabled or deleted."""
        with request_scope(self._account, self._region):
            try:
                while True:
                    with _lock:
                        # Under the lock: a record written after this finds no reader and starts one.
                        if not self.has_records():
                            _running.discard(self._mapping["UUID"])
                            return
                    self._step()
            except Exception:
                lambda_svc.logger.exception("Event source mapping %s", self._mapping["UUID"])
                # The next write to any stream starts a new reader at the checkpoint.
                with _lock:
                    _running.discard(self._mapping["UUID"])

    def _exists(self) -> bool:
        return lambda_svc._esms.get(self._mapping["UUID"]) is self._mapping

    def _active(self) -> bool:
        return self._exists() and mapping_lifecycle.is_enabled(self._mapping)

    def _position(self) -> int:
        horizon = int(dynamodb.stream_start_position(self._table))
        stored = lambda_svc._dynamodb_stream_positions.get(self._mapping["UUID"], horizon)
        return max(horizon, int(stored))

    def _advance(self, count: int) -> None:
        with lambda_svc._dynamodb_stream_positions_lock:
            # A batch in progress when the mapping was disabled is still completed.
            if self._exists() and count:
                lambda_svc._dynamodb_stream_positions[self._mapping["UUID"]] = self._position() + count

    def _step(self) -> None:
        function = self._function()
        if function is None:
            self._report("PROBLEM: Function not found")
            self._wait()
            return
        if not self._pending:
            if not self._may_read(function):
                self._report("PROBLEM: Cannot access stream")
                self._wait()
                return
            records = self._gather()
            if records:
                failed_batches.count(self._mapping, "PolledEventCount", len(records))
                self._pending.append(Batch(records))
            return
        batch = self._pending.popleft()
        condition = discard_condition(
            batch,
            time.time(),
            maximum_retries=self._mapping.get("MaximumRetryAttempts", -1),
            maximum_age=self._maximum_age(),
        )
        if condition is not None:
            failed_batches.send(self._mapping, function, batch, condition)
            self._advance(len(batch.records))
            return
        event_records = lambda_svc._apply_filter_criteria(list(batch.records), self._mapping)
        if event_records:
            self._invoke(function, batch, event_records)
        else:
            self._advance(len(batch.records))

    def _may_read(self, function: Any) -> bool:
        # https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-permissions.html
        stream = str(self._mapping["EventSourceArn"])
        requests = [(f"dynamodb:{action}", stream) for action in ("DescribeStream", "GetRecords", "GetShardIterator")]
        requests.append(("dynamodb:ListStreams", "*"))
        return access.allows(str(function["config"].get("Role", "")), "lambda.amazonaws.com", requests)

    def _maximum_age(self) -> float | None:
        seconds = self._mapping.get("MaximumRecordAgeInSeconds", -1)
        return scaled(seconds) if seconds >= 0 else None

    def _gather(self) -> list[Record]:
        """Return the next batch: the records that fit, or that arrived in the batching window."""
        size = self._mapping["BatchSize"]
        window = scaled(self._mapping.get("MaximumBatchingWindowInSeconds", 0))
        closes = time.time() + window
        while True:
            records = dynamodb.stream_records_since(self._table, self._position(), size)
            fitting = _within_payload(records)
            if len(records) >= size or len(fitting) < len(records) or time.time() >= closes:
                return fitting
            if not self._active():
                return []
            time.sleep(_POLL_SECONDS)

    def _invoke(self, function: Any, batch: Batch, records: list[Record]) -> None:
        started = time.time()
        name = str(self._mapping["FunctionName"])
        age = unscaled(started - created(records[-1])) * 1000
        metrics.publish("AWS/Lambda", "IteratorAge", age, "Milliseconds", {"FunctionName": name})
        result = lambda_svc._execute_function(function, {"Records": records})
        if result.get("throttle"):
            # Not an invocation: it consumes no attempt, and its metric is already published.
            self._report("PROBLEM: Function call was throttled")
            self._pending.appendleft(batch)
            self._wait()
            return
        failed_batches.count(self._mapping, "InvokedEventCount", len(records))
        failed = bool(result.get("error"))
        lambda_svc._emit_lambda_metrics(name, duration_ms=(time.time() - started) * 1000, error=failed, throttle=False)
        position = 0 if failed else None
        if not failed and "ReportBatchItemFailures" in (self._mapping.get("FunctionResponseTypes") or []):
            position = first_failure(batch.records, _decoded(result.get("body")))
        if position is not None:
            failed_batches.count(self._mapping, "FailedInvokeEventCount", len(batch.records) - position)
        settlement = settle(batch, position, bisect=bool(self._mapping.get("BisectBatchOnFunctionError")))
        self._advance(settlement.done)
        self._pending.extendleft(reversed(settlement.next))
        if position is None:
            self._report("OK")
            self._pause = _FIRST_RETRY_SECONDS
            return
        self._report("PROBLEM: Function call failed")
        if settlement.next[0].attempts:
            self._wait()

    def _report(self, result: str) -> None:
        self._mapping["LastProcessingResult"] = result

    def _wait(self) -> None:
        time.sleep(self._pause)
        self._pause = min(self._pause * 2, _LAST_RETRY_SECONDS)


def _within_payload(records: list[Record]) -> list[Record]:
    total = 0
    for count, record in enumerate(records):
        total += len(json.dumps(record, separators=(",", ":")))
        if count and total > MAXIMUM_PAYLOAD_BYTES:
            return records[:count]
    return records


def _decoded(body: Any) -> Any:
    if isinstance(body, str | bytes):
        with contextlib.suppress(ValueError):
            return json.loads(body)
    return body
