"""Firehose to S3 as documented: records are buffered by size and time, and lost only with the stream."""

from __future__ import annotations

import gzip
import threading
import time
import uuid
import zlib
from collections import deque
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from ministack.core.responses import get_account_id, get_region, request_scope
from ministack.services import firehose

from infra.local.aws import metrics
from infra.local.aws.iam import access
from infra.local.aws.patch import Original, patch, replace
from infra.local.aws.s3 import objects
from infra.local.aws.settings import scaled, unscaled

NAMESPACE = "AWS/Firehose"
MAX_RECORDS = 500
MAX_RECORD_BYTES = 1_024_000
MAX_REQUEST_BYTES = 4 * 1024 * 1024
MEBIBYTE = 1024 * 1024
START_SECONDS = 30.0
"""The longest time from the creation of a Firehose stream until it reads a shard of its source."""
PARTITIONS = 2
"""Number of partitions of a Firehose stream without a source. Each has its own buffer; callers cannot choose one."""

# https://docs.aws.amazon.com/firehose/latest/dev/controlling-access.html#using-iam-s3
_SOURCE_ACTIONS = ("DescribeStream", "GetShardIterator", "GetRecords", "ListShards")
_TICK_SECONDS = 0.02
_RETRY_SECONDS = 0.2
_READ_SECONDS = 30.0
_EXTENSIONS = {"UNCOMPRESSED": "", "GZIP": ".gz"}
# Each line begins with a zone that AWS lists.
_ZONES = Path(__file__).parents[3] / "plugins" / "dynalake" / "firehose_zones.txt"
# These change each record, which is not here.
_RECORD_FEATURES = (
    "ProcessingConfiguration",
    "DataFormatConversionConfiguration",
    "DynamicPartitioningConfiguration",
)


@dataclass
class _Chunk:
    """The records of one S3 object, since the arrival of the first."""

    arrived: float = field(default_factory=time.time)
    records: list[bytes] = field(default_factory=list)
    size: int = 0
    suffix: str = field(default_factory=lambda: str(uuid.uuid4()))


@dataclass
class _Buffer:
    """A delivery stream's buffer of a shard or partition: the open chunk, and sealed chunks that wait for S3."""

    account: str
    region: str
    stream: dict[str, Any]
    destination: dict[str, Any]
    part: str
    open: _Chunk | None = None
    sealed: deque[_Chunk] = field(default_factory=deque)
    retry_at: float = 0.0
    delivering: bool = False

    @property
    def name(self) -> str:
        return str(self.stream["name"])

    def exists(self) -> bool:
        return firehose._streams.get_scoped(self.account, self.region, self.name) is self.stream


_buffers: dict[tuple[int, str], _Buffer] = {}
_lock = threading.Lock()


@replace(firehose, "_deliver_records_to_s3")
def deliver_records(stream: dict[str, Any], destination: dict[str, Any], records: list[tuple[str, bytes]]) -> None:
    """Buffer the records instead of delivering each by itself."""
    # ministack also keeps every record ever put, in a list that nothing reads.
    destination["records"].clear()
    for _, data in records:
        _hold(stream, destination, str(zlib.crc32(data) % PARTITIONS), data)


@patch(firehose, "_validate_s3_destination_config")
def validate_destination(original: Original, kind: str, config: dict[str, Any]) -> Any:
    """Refuse a time zone that AWS does not list, and features that are not here."""
    if kind in ("ExtendedS3", "S3"):
        for name in _RECORD_FEATURES:
            if config.get(name, {}).get("Enabled"):
                return firehose._invalid(f"The local Firehose has no {name}.")
        compression = config.get("CompressionFormat", "UNCOMPRESSED")
        if compression not in _EXTENSIONS:
            return firehose._invalid(f"The local Firehose cannot compress with {compression}.")
        zone = config.get("CustomTimeZone", "UTC")
        if zone not in {line.partition(" ")[0] for line in _ZONES.read_text().splitlines()}:
            return firehose._invalid(f"CustomTimeZone {zone} is not supported.")
    return original(kind, config)


@replace(firehose, "ingest_from_kinesis_source")
def ignore(stream_arn: str, records: Any) -> None:
    """Ignore records without a shard: the corrected Kinesis passes on its records with their shard."""


@patch(firehose, "_HANDLERS", "PutRecord")
@patch(firehose, "_HANDLERS", "PutRecordBatch")
def put_records(original: Original, request: dict[str, Any]) -> Any:
    """Limit the number and the size of records."""
    records = request.get("Records", [request.get("Record", {})])
    if len(records) > MAX_RECORDS:
        return firehose.error_response_json("ValidationException", _constraint("records", MAX_RECORDS), 400)
    total = 0
    for position, record in enumerate(records, start=1):
        size = metrics.decoded_size(record.get("Data", ""))
        total += size
        if size > MAX_RECORD_BYTES:
            message = _constraint(f"records.{position}.member.data", MAX_RECORD_BYTES)
            return firehose.error_response_json("ValidationException", message, 400)
    if total > MAX_REQUEST_BYTES:
        return firehose._invalid("Records size exceeds 4 MB limit")
    return original(request)


def ingest(kinesis_arn: str, shards: dict[str, Any], records: Iterable[tuple[str, bytes]]) -> None:
    """Pass on records that a Kinesis stream stored, as (shard, data), to the Firehose streams that read that shard.

    "Firehose starts reading data from the LATEST position of your Kinesis stream": records that were put into a shard
    before its reader starts are never read.
    https://docs.aws.amazon.com/firehose/latest/dev/create-name.html
    """
    readers = [
        stream
        for stream in list(firehose._streams.values())
        if (stream.get("kinesis_source") or {}).get("KinesisStreamARN") == kinesis_arn and _may_read(stream)
    ]
    for shard, data in records if readers else ():
        for stream in readers:
            if time.time() >= _reads_from(stream, shards, shard):
                for destination in stream["destinations"]:
                    _hold(stream, destination, shard, data)


def _reads_from(stream: dict[str, Any], shards: dict[str, Any], shard: str) -> float:
    """Return the time from which a shard is read: it differs by shard; after resharding, it is the first parent's."""
    while parent := shards[shard].get("parent_shard_id"):
        shard = parent
    return float(stream["created_at"]) + scaled(START_SECONDS) / (1 + int(shard[-1]))


def _may_read(stream: dict[str, Any]) -> bool:
    """Return whether Firehose may read its source; if not, it delivers nothing."""
    source = stream["kinesis_source"]
    return access.allows(
        str(source["RoleARN"]),
        "firehose.amazonaws.com",
        [(f"kinesis:{action}", source["KinesisStreamARN"]) for action in _SOURCE_ACTIONS],
    )


def read_forever() -> None:
    """Count reads of each source, with or without records: Firehose reads every second, here twice a minute.

    https://docs.aws.amazon.com/firehose/latest/dev/writing-with-kinesis-streams.html
    """
    while True:
        time.sleep(scaled(_READ_SECONDS))
        for (account, region, _), stream in firehose._streams.all_items():
            source = stream.get("kinesis_source")
            with request_scope(account, region):
                if source and stream["status"] == "ACTIVE" and _may_read(stream):
                    read = {"StreamName": source["KinesisStreamARN"].rpartition("/")[2]}
                    metrics.publish("AWS/Kinesis", "GetRecords.Success", 1, "Count", read)


def rebuild() -> None:
    """Index restored buffers by the identity of their restored streams."""
    restored = list(_buffers.values())
    _buffers.clear()
    for buffer in restored:
        buffer.delivering = False
        _buffers[id(buffer.stream), buffer.part] = buffer


def _constraint(field_name: str, limit: int) -> str:
    return (
        f"1 validation error detected: Value at '{field_name}' failed to satisfy constraint: "
        f"Member must have length less than or equal to {limit}"
    )


def _hold(stream: dict[str, Any], destination: dict[str, Any], part: str, data: bytes) -> None:
    """Buffer a record with those of its shard or partition: "buffer hints are applied on a shard or partition level".

    https://docs.aws.amazon.com/firehose/latest/dev/buffering-hints.html
    """
    if len(data) > MAX_RECORD_BYTES:
        # A record of a Kinesis stream may be longer than one of Firehose's. AWS does not say what happens to it, so
        # nothing may depend on it: here it is lost.
        return
    limit = int(_hints(destination).get("SizeInMBs", 5)) * MEBIBYTE
    with _lock:
        buffer = _buffers.get((id(stream), part))
        if buffer is None or buffer.stream is not stream:
            buffer = _Buffer(get_account_id(), get_region(), stream, destination, part)
            _buffers[id(stream), part] = buffer
        if buffer.open is None:
            buffer.open = _Chunk()
        buffer.open.records.append(data)
        buffer.open.size += len(data)
        if buffer.open.size >= limit:
            buffer.sealed.append(buffer.open)
            buffer.open = None
    dimensions = {"DeliveryStreamName": buffer.name}
    metrics.publish(NAMESPACE, "IncomingRecords", 1, "Count", dimensions)
    metrics.publish(NAMESPACE, "IncomingBytes", len(data), "Bytes", dimensions)


def _hints(destination: dict[str, Any]) -> dict[str, Any]:
    return destination["config"].get("BufferingHints") or {}


def deliver_forever() -> None:
    """Deliver each buffer that is full or old enough."""
    pool = ThreadPoolExecutor(max_workers=4, thread_name_prefix="firehose-delivery")
    while True:
        now = time.time()
        with _lock:
            for buffer in list(_buffers.values()):
                if _seal_if_due(buffer, now) and not buffer.delivering and buffer.retry_at <= now:
                    buffer.delivering = True
                    pool.submit(_deliver, buffer)
        time.sleep(_TICK_SECONDS)


def _seal_if_due(buffer: _Buffer, now: float) -> bool:
    if buffer.open is not None:
        interval = scaled(float(_hints(buffer.destination).get("IntervalInSeconds", 300)))
        if now - buffer.open.arrived >= interval:
            buffer.sealed.append(buffer.open)
            buffer.open = None
    return bool(buffer.sealed) or not buffer.exists()


def _deliver(buffer: _Buffer) -> None:
    try:
        # A Firehose stream's buffered records are deleted with it: "deletes a Firehose stream and its data".
        # https://docs.aws.amazon.com/firehose/latest/APIReference/API_DeleteDeliveryStream.html
        while buffer.sealed and buffer.exists():
            if not _put(buffer, buffer.sealed[0]):
                buffer.retry_at = time.time() + _RETRY_SECONDS
                break
            with _lock:
                buffer.sealed.popleft()
    finally:
        with _lock:
            buffer.delivering = False
            if not buffer.exists() or (not buffer.sealed and buffer.open is None):
                # An empty buffer costs every tick and holds the descriptor of a deleted stream.
                _buffers.pop((id(buffer.stream), buffer.part), None)


def _put(buffer: _Buffer, chunk: _Chunk) -> bool:
    config = buffer.destination["config"]
    compression = config.get("CompressionFormat", "UNCOMPRESSED")
    body = b"".join(chunk.records)
    if compression == "GZIP":
        body = gzip.compress(body, compresslevel=6, mtime=int(chunk.arrived))
    try:
        bucket = firehose._s3_bucket_from_arn(config.get("BucketARN", ""))
        zone = ZoneInfo(config["CustomTimeZone"]) if config.get("CustomTimeZone") else UTC
        moment = datetime.fromtimestamp(chunk.arrived, zone)
        prefix = firehose._evaluate_prefix(config.get("Prefix", ""), moment.timetuple())
        extension = config.get("FileExtension") or _EXTENSIONS[compression]
        version = buffer.stream.get("version", 1)
        key = f"{prefix}{buffer.name}-{version}-{moment:%Y-%m-%d-%H-%M-%S}-{chunk.suffix}{extension}"
        with request_scope(buffer.account, buffer.region):
            role = str(config.get("RoleARN", ""))
            allowed = access.allows(role, "firehose.amazonaws.com", [("s3:PutObject", f"arn:aws:s3:::{bucket}/{key}")])
            status = objects.put(bucket, key, body)[0] if allowed else 403
    except Exception:
        firehose.logger.exception("Delivery stream %s cannot deliver", buffer.name)
        status = 500
    _measure(buffer, chunk, len(body), delivered=status == 200)
    return status == 200


def _measure(buffer: _Buffer, chunk: _Chunk, size: int, *, delivered: bool) -> None:
    with request_scope(buffer.account, buffer.region):
        dimensions = {"DeliveryStreamName": buffer.name}
        freshness = unscaled(time.time() - chunk.arrived)
        metrics.publish(NAMESPACE, "DeliveryToS3.DataFreshness", freshness, "Seconds", dimensions)
        metrics.publish(NAMESPACE, "DeliveryToS3.Success", float(delivered), "None", dimensions)
        if delivered:
            metrics.publish(NAMESPACE, "DeliveryToS3.Records", len(chunk.records), "Count", dimensions)
            metrics.publish(NAMESPACE, "DeliveryToS3.Bytes", size, "Bytes", dimensions)
