"""Event source mappings as the Lambda API documents them: their defaults, and states that change over time.

https://docs.aws.amazon.com/lambda/latest/api/API_CreateEventSourceMapping.html
https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-params.html
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from typing import Any

from ministack.core.concurrency import esm_wake
from ministack.services import lambda_svc

from infra.local.aws.patch import Original, patch
from infra.local.aws.settings import scaled

DEFAULT_BATCH_SIZE = 100
LARGEST_UNGATHERED = 10
"""https://docs.aws.amazon.com/lambda/latest/api/API_CreateEventSourceMapping.html: larger batches need a window."""
TRANSITION_SECONDS = 0.1
STOP_SECONDS = 120.0
"""A mapping that is Disabled still reads its stream for this long."""

_DEFAULTS = {
    "MaximumRetryAttempts": -1,
    "MaximumRecordAgeInSeconds": -1,
    "BisectBatchOnFunctionError": False,
    "ParallelizationFactor": 1,
    "TumblingWindowInSeconds": 0,
    "DestinationConfig": {"OnFailure": {}},
}
TemplateProperties = Mapping[str, Any]
_READING = {"Enabled", "Updating"}
_reads_until: dict[str, float] = {}


@patch(lambda_svc, "_create_esm")
def create(original: Original, request: dict[str, Any]) -> Any:
    """Check and complete a mapping on a table's stream, and show it as Creating."""
    if ":dynamodb:" in request.get("EventSourceArn", ""):
        if "StartingPosition" not in request:
            return lambda_svc._invalid_parameter_value("1 validation error detected: startingPosition is null")
        if problem := window_problem(request):
            return lambda_svc._invalid_parameter_value(problem)
        request = {"BatchSize": DEFAULT_BATCH_SIZE, **_DEFAULTS, **request}
    response = original(request)
    if response[0] < 300:
        lambda_svc._esms[json.loads(response[2])["UUID"]]["MetricsConfig"] = request.get("MetricsConfig") or {}
    return _in_transition(response, "Creating")


@patch(lambda_svc, "_update_esm")
def update(original: Original, identifier: str, request: dict[str, Any]) -> Any:
    """Show a mapping's transition; one that is disabled still reads for a while."""
    mapping = lambda_svc._esms.get(identifier) or {}
    if "BatchSize" in request and (problem := window_problem({**mapping, **request})):
        return lambda_svc._invalid_parameter_value(problem)
    before, enabled = mapping.get("State"), mapping.get("Enabled")
    response = original(identifier, request)
    if enabled and not mapping.get("Enabled"):
        _reads_until[identifier] = time.time() + scaled(STOP_SECONDS)
    if mapping.get("State") == before:
        return _in_transition(response, "Updating")
    return _in_transition(response, "Enabling" if mapping.get("Enabled") else "Disabling")


def window_problem(request: Mapping[str, Any]) -> str:
    """Return why a mapping may not have this batch size; '' if it may."""
    window = int(request.get("MaximumBatchingWindowInSeconds") or 0)
    if int(request.get("BatchSize") or 0) <= LARGEST_UNGATHERED or window:
        return ""
    return f"MaximumBatchingWindowInSeconds must be at least 1 if BatchSize is greater than {LARGEST_UNGATHERED}."


def is_enabled(mapping: dict[str, Any]) -> bool:
    """Return whether the mapping reads its stream now.

    "During event source mapping updates, it may take several minutes to stop and restart polling events from streams",
    and its state does not say so. https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html
    """
    if time.time() < _reads_until.get(mapping["UUID"], 0):
        return True
    return bool(mapping.get("Enabled", True)) and mapping.get("State") in _READING


def normalize(mapping: dict[str, Any], properties: TemplateProperties) -> None:
    """Give a mapping that CloudFormation created the API's types, defaults and state."""
    defaults: dict[str, Any] = {"BatchSize": DEFAULT_BATCH_SIZE, "MaximumBatchingWindowInSeconds": 0}
    if ":dynamodb:" in mapping["EventSourceArn"]:
        for name, default in {**defaults, **_DEFAULTS}.items():
            value = properties.get(name)
            # A template's numbers and booleans may arrive as strings.
            mapping[name] = default if value is None else _typed(value, default)
        mapping["FunctionResponseTypes"] = properties.get("FunctionResponseTypes") or []
        mapping["MetricsConfig"] = properties.get("MetricsConfig") or {}
        if not properties.get("FilterCriteria"):
            mapping.pop("FilterCriteria", None)
    mapping["Enabled"] = _typed(properties.get("Enabled", True), True)
    mapping["State"] = "Enabled" if mapping["Enabled"] else "Disabled"
    esm_wake.set()


def _typed(value: Any, default: Any) -> Any:
    if isinstance(default, bool):
        return str(value).lower() == "true"
    return int(value) if isinstance(default, int) else value


def _in_transition(response: Any, state: str) -> Any:
    """Show the mapping in a temporary state, in the answer and for a moment after it."""
    status, headers, body = response
    if status >= 300:
        return response
    answer = json.loads(body)
    mapping = lambda_svc._esms[answer["UUID"]]
    settled = "Enabled" if mapping.get("Enabled") else "Disabled"
    if settled == "Disabled" and state == "Updating":
        return response
    mapping["State"] = state

    def settle() -> None:
        if mapping["State"] == state:
            mapping["State"] = settled
            esm_wake.set()

    threading.Timer(TRANSITION_SECONDS, settle).start()
    return status, headers, json.dumps({**answer, "State": state}).encode()
