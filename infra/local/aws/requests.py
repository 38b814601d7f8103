"""Handle every request first: the administrative endpoints, and the faults that tests request."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from ministack import app as gateway

from infra.local.aws import athena, faults, metrics, state
from infra.local.aws.dynamodb.exports import history
from infra.local.aws.dynamodb.exports import service as exports
from infra.local.aws.iam import access
from infra.local.aws.patch import Original, patch

# Fields of the batch operations that answer each entry by itself: (entries, answers, count of failures).
_BATCHES = {
    ("kinesis", "PutRecords"): ("Records", "Records", "FailedRecordCount"),
    ("firehose", "PutRecordBatch"): ("Records", "RequestResponses", "FailedPutCount"),
}
_RESOURCE_FIELDS = ("StreamName", "DeliveryStreamName", "TableName", "FunctionName")
_ADMINISTERED = (faults.PATH, access.PATH, history.PATH, exports.PATH, state.PATH, athena.PATH)
_JSON = {"Content-Type": "application/json"}


@patch(gateway, "_dispatch_service_request")
async def dispatch(
    original: Original,
    method: str,
    path: str,
    headers: dict[str, str],
    body: bytes,
    query: dict[str, Any],
    request_id: str,
) -> Any:
    """Fail if a test requests it."""
    if faults.active():
        service = gateway.detect_service(method, path, headers, query)

        async def serve(content: bytes) -> Any:
            return await original(method, path, headers, content, query, request_id)

        if service == "s3":
            failed = _s3_fault(method, path, query)
        elif service == "lambda":
            failed = None  # An invocation fails inside Lambda, whatever its caller.
        else:
            return await _serve_json(service, headers, body, serve)
        if failed is not None:
            return failed
    return await original(method, path, headers, body, query, request_id)


@patch(gateway, "app")
async def application(original: Original, scope: Any, receive: Any, send: Any) -> None:
    """Answer `/_dynalake/` too."""
    if scope["type"] == "http" and scope["path"] in _ADMINISTERED:
        await _administer(scope["path"], scope["method"], receive, send)
    else:
        await original(scope, receive, send)


async def _serve_json(service: str, headers: dict[str, str], body: bytes, serve: Any) -> Any:
    operation = headers.get("x-amz-target", "").rpartition(".")[2]
    try:
        request = json.loads(body or b"{}")
    except ValueError:
        return await serve(body)
    resource = next((str(request[field]) for field in _RESOURCE_FIELDS if field in request), "")
    resource = resource or str(request.get("StreamARN", "")).rpartition("/")[2]
    fault = faults.take(service, operation, resource)
    if fault is None:
        return await serve(body)
    if (service, operation) in _BATCHES and not fault.after:
        return await _serve_batch(fault, _BATCHES[service, operation], request, serve)
    if not fault.hits():
        return await serve(body)
    if fault.after:
        await serve(body)
    return fault.status, dict(_JSON), json.dumps({"__type": fault.code, "message": fault.message}).encode()


async def _serve_batch(fault: faults.Fault, fields: tuple[str, str, str], request: dict[str, Any], serve: Any) -> Any:
    entries_field, answers_field, failures_field = fields
    entries = request.get(entries_field, [])
    failing = [fault.hits() for _ in entries]
    served = [entry for entry, fails in zip(entries, failing, strict=True) if not fails]
    answer: dict[str, Any] = {failures_field: 0, answers_field: []}
    if served:
        status, headers, content = await serve(json.dumps({**request, entries_field: served}).encode())
        if status != 200:
            return status, headers, content
        answer = json.loads(content)
    if sum(failing) and fault.code == "ProvisionedThroughputExceededException":
        stream = {"StreamName": str(request.get("StreamName") or request["StreamARN"].rpartition("/")[2])}
        metrics.publish("AWS/Kinesis", "WriteProvisionedThroughputExceeded", sum(failing), "Count", stream)
    if sum(failing) and fault.code == "ServiceUnavailableException" and "DeliveryStreamName" in request:
        stream = {"DeliveryStreamName": str(request["DeliveryStreamName"])}
        metrics.publish("AWS/Firehose", "ThrottledRecords", sum(failing), "Count", stream)
    successes = iter(answer[answers_field])
    failure = {"ErrorCode": fault.code, "ErrorMessage": fault.message}
    answer[answers_field] = [failure if fails else next(successes) for fails in failing]
    answer[failures_field] += sum(failing)
    return 200, {"Content-Type": "application/x-amz-json-1.1"}, json.dumps(answer).encode()


def _s3_fault(method: str, path: str, query: dict[str, Any]) -> faults.Answer | None:
    bucket, _, key = path.lstrip("/").partition("/")
    operation = {"PUT": "PutObject", "GET": "GetObject", "DELETE": "DeleteObject", "HEAD": "HeadObject"}
    if not key:
        name = "ListObjectsV2" if method == "GET" and "list-type" in query else f"{method} bucket"
    elif "partNumber" in query:
        name = "UploadPart"
    elif query and not set(query) <= {"x-id"}:
        return None
    else:
        name = operation.get(method, method)
    return faults.s3_answer(name, bucket, key)


async def _administer(path: str, method: str, receive: Any, send: Any) -> None:
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    status = 200
    try:
        if method == "DELETE":
            faults.clear() if path == faults.PATH else access.forget()
        elif method == "POST" and path == faults.PATH:
            faults.add(json.loads(body))
        elif method == "POST" and path == history.PATH:
            history.age(**json.loads(body))
        elif method == "POST" and path == exports.PATH:
            exports.hold(**json.loads(body))
        elif method == "POST" and path == state.PATH:
            await asyncio.to_thread(state.save, Path(json.loads(body)["file"]))
        elif method == "POST" and path == athena.PATH:
            athena.use(**json.loads(body))
        content: Any = access.decisions() if path == access.PATH else faults.active()
    except (TypeError, ValueError) as error:
        status, content = 400, {"message": str(error)}
    except RuntimeError as error:
        status, content = 500, {"message": str(error)}
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(content).encode()})
