"""Kinesis streams: current size limits, resharding that keeps the records, metrics, and DescribeLimits.

https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html
https://docs.aws.amazon.com/kinesis/latest/APIReference/API_UpdateShardCount.html
https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from ministack.services import kinesis

from infra.local.aws import firehose, metrics
from infra.local.aws.metrics import decoded_size
from infra.local.aws.patch import Original, patch, replace

NAMESPACE = "AWS/Kinesis"
MAX_REQUEST_BYTES = 10 * 1024 * 1024
MAX_RECORD_BYTES = 1024 * 1024
# https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html
READS_PER_SECOND = 5
ON_DEMAND_STREAMS = 50
ON_DEMAND_SHARDS = 4
ACCOUNT_SHARDS = 20_000
# ministack refuses requests larger than half of AWS's limit.
_PART_BYTES = 5 * 1024 * 1024

_reads: dict[tuple[str, str], deque[float]] = {}
_lock = threading.Lock()

Request = dict[str, Any]
Stream = dict[str, Any]


@patch(kinesis, "_put_record")
def put_record(original: Original, request: Request) -> Any:
    """Limit the record to its present size, measure it, and pass it on to Firehose."""
    size = _record_size(request)
    if size > MAX_RECORD_BYTES:
        return _invalid(_too_large(size))
    response = original(request)
    if response[0] == 200:
        _measure(request, 1, size)
        _hand_on(request, [request], [json.loads(response[2])])
    return response


@patch(kinesis, "_put_records")
def put_records(original: Original, request: Request) -> Any:
    """Limit the request to its present size, measure its records, and pass them on to Firehose."""
    records = request.get("Records") or []
    sizes = [_record_size(record) for record in records]
    if max(sizes, default=0) > MAX_RECORD_BYTES:
        return _invalid(_too_large(max(sizes)))
    if sum(sizes) > MAX_REQUEST_BYTES:
        return _invalid("Records size exceeds 10 MB limit")
    # ministack refuses more than 500 records, as AWS does.
    response = original(request) if len(records) > 500 else _put(original, request, records)
    if response[0] == 200:
        _measure(request, len(records), sum(sizes))
        _hand_on(request, records, json.loads(response[2])["Records"])
    return response


@patch(kinesis, "_get_records")
def get_records(original: Original, request: Request) -> Any:
    """Limit a shard's reads, count them, and end a closed shard."""
    state = kinesis._shard_iterators.get(request.get("ShardIterator")) or {}
    if state and _reads_too_often(str(state["stream"]), str(state["shard_id"])):
        _count(str(state["stream"]), "ReadProvisionedThroughputExceeded", 1)
        message = f"Rate exceeded for shard {state['shard_id']} in stream {state['stream']}."
        return kinesis.error_response_json("ProvisionedThroughputExceededException", message, 400)
    status, headers, body = original(request)
    if status == 200:
        _count(str(state["stream"]), "GetRecords.Success", 1)
    stream = kinesis._streams.get(state.get("stream")) or {"shards": {}}
    shard = stream["shards"].get(state.get("shard_id")) or {}
    if status == 200 and "ending_sequence_number" in shard:
        answer = json.loads(body)
        if state["position"] + len(answer["Records"]) >= len(shard["records"]):
            # The end of a closed shard: a consumer continues with its children.
            del answer["NextShardIterator"]
            body = json.dumps(answer).encode()
    return status, headers, body


@patch(kinesis, "_shard_out")
def shard_out(original: Original, shard_id: str, shard: dict[str, Any]) -> dict[str, Any]:
    """Describe a closed shard with its last sequence number."""
    description: dict[str, Any] = original(shard_id, shard)
    if "ending_sequence_number" in shard:
        description["SequenceNumberRange"]["EndingSequenceNumber"] = shard["ending_sequence_number"]
    return description


@patch(kinesis, "_describe_stream_summary")
def describe_stream_summary(original: Original, request: Request) -> Any:
    """Count only open shards."""
    status, headers, body = original(request)
    if status == 200:
        answer = json.loads(body)
        stream = kinesis._resolve_stream(request)[1]
        answer["StreamDescriptionSummary"]["OpenShardCount"] = len(open_shards(stream))
        body = json.dumps(answer).encode()
    return status, headers, body


@patch(kinesis, "_route_to_shard")
def route_to_shard(original: Original, key: str, stream: Stream) -> Any:
    """Write to open shards only."""
    return original(key, {"shards": open_shards(stream)})


@patch(kinesis, "_create_stream")
def create_stream(original: Original, request: Request) -> Any:
    """Give an on-demand stream its shards."""
    on_demand = (request.get("StreamModeDetails") or {}).get("StreamMode") == "ON_DEMAND"
    return original({**request, "ShardCount": ON_DEMAND_SHARDS} if on_demand else request)


@patch(kinesis, "handle_request")
async def handle_request(original: Original, method: str, path: str, headers: Any, body: bytes, query: Any) -> Any:
    """Answer DescribeLimits, which ministack lacks."""
    if headers.get("x-amz-target", "").endswith(".DescribeLimits"):
        return _describe_limits()
    return await original(method, path, headers, body, query)


def _describe_limits() -> Any:
    streams = list(kinesis._streams.values())
    return kinesis.json_response(
        {
            "ShardLimit": ACCOUNT_SHARDS,
            "OpenShardCount": sum(len(open_shards(stream)) for stream in streams),
            "OnDemandStreamCount": sum(stream["StreamModeDetails"]["StreamMode"] == "ON_DEMAND" for stream in streams),
            "OnDemandStreamCountLimit": ON_DEMAND_STREAMS,
        }
    )


def open_shards(stream: Stream) -> dict[str, dict[str, Any]]:
    """Return the shards that accept records, by id."""
    return {name: shard for name, shard in stream["shards"].items() if "ending_sequence_number" not in shard}


@replace(kinesis, "_update_shard_count")
def update_shard_count(request: Request) -> Any:
    """UpdateShardCount: close the open shards, which stay readable, and open the requested number."""
    name, stream = kinesis._resolve_stream(request)
    if not stream:
        return kinesis.error_response_json("ResourceNotFoundException", f"Stream {name} not found", 400)
    if stream["StreamModeDetails"]["StreamMode"] == "ON_DEMAND":
        return _invalid(f"Stream {name} is in ON_DEMAND mode; its shard count cannot be set.")
    target = int(request.get("TargetShardCount") or 0)
    parents = open_shards(stream)
    current = len(parents)
    if not current / 2 <= target <= current * 2 or target < 1:
        return _invalid(
            f"UpdateShardCount cannot scale from {current} to {target} shards: at most double, at least half."
        )
    if target != current:
        children = kinesis._build_shards(target, kinesis._max_shard_index(stream) + 1)
        for shard in parents.values():
            shard["ending_sequence_number"] = kinesis._next_sequence_number()
        for child in children.values():
            overlapping = list(_overlapping(child, parents))
            child["parent_shard_id"] = overlapping[0]
            child["adjacent_parent_shard_id"] = overlapping[1] if len(overlapping) > 1 else None
        stream["shards"].update(children)
    answer = {"StreamName": stream["StreamName"], "StreamARN": stream["StreamARN"]}
    return kinesis.json_response({**answer, "CurrentShardCount": current, "TargetShardCount": target})


def _overlapping(child: dict[str, Any], parents: dict[str, dict[str, Any]]) -> Iterator[str]:
    for name, parent in parents.items():
        starts_before = int(parent["starting_hash_key"]) <= int(child["ending_hash_key"])
        if starts_before and int(child["starting_hash_key"]) <= int(parent["ending_hash_key"]):
            yield name


def _reads_too_often(stream: str, shard: str) -> bool:
    """Return whether all consumers together have used up the shard's reads of this second."""
    now = time.monotonic()
    with _lock:
        reads = _reads.setdefault((stream, shard), deque())
        while reads and now - reads[0] >= 1:
            reads.popleft()
        if len(reads) >= READS_PER_SECOND:
            return True
        reads.append(now)
        return False


def _count(stream: str, metric: str, count: int) -> None:
    metrics.publish(NAMESPACE, metric, count, "Count", {"StreamName": stream})


def _record_size(record: Request) -> int:
    return decoded_size(record.get("Data", "")) + len(record.get("PartitionKey", "").encode())


def _too_large(size: int) -> str:
    return f"Record size of {size} bytes, with its partition key, exceeds the limit of {MAX_RECORD_BYTES}."


def _put(put_records: Any, request: Request, records: list[Request]) -> Any:
    """Put the records in requests of a size that ministack accepts; return the answer for all of them."""
    if len(records) < 2 or sum(map(_record_size, records)) <= _PART_BYTES:
        return put_records({**request, "Records": records})
    middle = len(records) // 2
    halves = [_put(put_records, request, half) for half in (records[:middle], records[middle:])]
    if refused := next((half for half in halves if half[0] != 200), None):
        return refused
    answers = [answer for half in halves for answer in json.loads(half[2])["Records"]]
    return 200, halves[0][1], json.dumps({"FailedRecordCount": 0, "Records": answers}).encode()


def _measure(request: Request, records: int, size: int) -> None:
    stream = str(kinesis._resolve_stream(request)[1]["StreamName"])
    dimensions = {"StreamName": stream}
    metrics.publish(NAMESPACE, "IncomingRecords", records, "Count", dimensions)
    metrics.publish(NAMESPACE, "IncomingBytes", size, "Bytes", dimensions)
    for name in ("WriteProvisionedThroughputExceeded", "ReadProvisionedThroughputExceeded"):
        _count(stream, name, 0)


def _hand_on(request: Request, records: list[Request], answers: list[dict[str, Any]]) -> None:
    """Pass the stored records to Firehose, each with its shard."""
    stream = kinesis._resolve_stream(request)[1]
    stored = (
        (str(answer["ShardId"]), base64.b64decode(record.get("Data", "")))
        for record, answer in zip(records, answers, strict=True)
        if "ShardId" in answer
    )
    firehose.ingest(stream["StreamARN"], stream["shards"], stored)


def _invalid(message: str) -> Any:
    return kinesis.error_response_json("InvalidArgumentException", message, 400)
