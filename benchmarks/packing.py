"""The cost of the stream's path: the forwarder, and a usual Lambda function that sends one record per item.

Firehose bills every record's data rounded up to the next 5 KB, per record and not per request, also when it reads from
a Kinesis stream (https://aws.amazon.com/firehose/pricing/: "a 3KB record is billed as 5KB"); Kinesis accepts 1,000
records per second and shard (https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html).

Both get the same invocations: up to `batch_size` (1,000) changes within Lambda's 6 MB payload, already parsed, as
Lambda's runtime hands them over. Both send to a client that only counts. This leaves out the SDK's own work for each
record (base64, signing), which is the larger part for one record per item, and so favours the usual function.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from boto3.dynamodb.types import TypeDeserializer

from benchmarks.harness import Benchmark, BenchmarkError, Column, Competitor, Row, nothing
from benchmarks.meter import Meter
from dynalake.names import Lake
from dynalake.options.settings import TableSettings
from dynalake.sizing.prices import price
from forwarder.handler import Forwarder, forward
from forwarder.targets import Targets

MILLION = 1_000_000
BILLED_STEP = 5 * 1024
PAYLOAD_BYTES = 6 * 1024 * 1024
MAX_RECORDS = 500

SIZES = {
    "200 B": (200, 100_000),
    "1 KB": (1024, 60_000),
    "4 KB": (4096, 30_000),
    "10 KB": (10 * 1024, 12_000),
    "50 KB": (50 * 1024, 4_000),
}
"""Each item's size as DynamoDB counts it, and the number of changes."""

MEMORY_MB = 512
"""The function's memory (`MemoryMb` of infra/cloudformation/forwarder.yaml)."""
PROCESSOR_MB = 1769
"""Memory with which Lambda gives a function one processor; less gives a part of it.

https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
"""

ARN = "arn:aws:dynamodb:us-east-1:000000000000:table/RECEIPTS/stream/2019-05-25T00:00:00.000"


class CountingClient:
    """Accepts Kinesis records and keeps only their sizes."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def put_records(self, StreamName: str, Records: Sequence[Any]) -> dict[str, Any]:
        self.sizes += [len(record["Data"]) for record in Records]
        return {"FailedRecordCount": 0, "Records": [{} for _ in Records]}

    def get_parameter(self, Name: str) -> dict[str, Any]:
        return {"Parameter": {"Value": json.dumps({"delivery": "kinesis", "max_record_kb": _setting("max_record_kb")})}}


def invocations(item_bytes: int, changes: int) -> list[str]:
    """Return the payloads of all invocations for this number of changes, as JSON text."""
    # A change has a new and an old image, and JSON is longer than DynamoDB's count.
    size = max(1, min(_setting("batch_size"), PAYLOAD_BYTES // (2 * len(json.dumps(item(0, item_bytes))) + 500)))
    records = [stream_record(number, item_bytes) for number in range(size)]
    batch = json.dumps({"Records": records})
    remainder = changes % size
    return [batch] * (changes // size) + ([json.dumps({"Records": records[:remainder]})] if remainder else [])


def item(number: int, item_bytes: int) -> dict[str, dict[str, str]]:
    """Return an item of exactly `item_bytes`, as DynamoDB counts them: a few short attributes and a long text.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
    """
    attributes = {
        "receiptId": {"S": f"R-{number:08d}"},
        "userId": {"S": f"u{number % 5000:04d}"},
        "status": {"S": "paid"},
        "updatedAt": {"N": "1558742400000"},
        "total": {"N": f"{10 + number % 80}.25"},
    }
    # A number takes a byte per two digits, and one more.
    used = sum(len(n) + (len(v["S"]) if "S" in v else 1 + (len(v["N"]) + 1) // 2) for n, v in attributes.items())
    words = "one receipt, two lines, thank you and good bye. "
    text = words * (item_bytes // len(words) + 1)
    return {**attributes, "notes": {"S": text[: item_bytes - used - len("notes")]}}


def stream_record(number: int, item_bytes: int) -> dict[str, Any]:
    """Return a change as Lambda gets it."""
    image = item(number, item_bytes)
    change = {
        "ApproximateCreationDateTime": 1558742400.0,
        "Keys": {"receiptId": image["receiptId"]},
        "NewImage": image,
        "OldImage": image,
        "SequenceNumber": str(4421584500000000017450439091 + number),
        "SizeBytes": 2 * item_bytes,
        "StreamViewType": "NEW_AND_OLD_IMAGES",
    }
    return {"eventID": f"{number:032x}", "eventName": "MODIFY", "eventSourceARN": ARN, "dynamodb": change}


def dynalake(item_bytes: int, changes: int) -> Callable[[Meter, Path], Row]:
    """Return a run of the forwarder's own `forward`: settings, encoding, packing, sending."""

    def run(meter: Meter, scratch: Path) -> Row:
        client = CountingClient()
        lake = Lake("bench", "000000000000", "us-east-1")
        forwarder = Forwarder(Targets(lake, client), kinesis=client, firehose=None, s3=None)
        for payload in invocations(item_bytes, changes):
            event = json.loads(payload)
            with meter:
                answer = forward(forwarder, event["Records"], lambda: 60.0)
            if answer != {"batchItemFailures": []}:
                raise BenchmarkError(f"The forwarder returned {answer}")
        return _row(client, item_bytes, changes)

    return run


def one_per_item(item_bytes: int, changes: int) -> Callable[[Meter, Path], Row]:
    """Return a run of a usual Lambda function: TypeDeserializer, json.dumps, one record per item, 500 in a request."""

    def run(meter: Meter, scratch: Path) -> Row:
        client = CountingClient()
        for payload in invocations(item_bytes, changes):
            event = json.loads(payload)
            with meter:
                usual_handler(event, client)
        return _row(client, item_bytes, changes)

    return run


def usual_handler(event: dict[str, Any], kinesis: Any) -> None:
    """Send one record per item, like the `lambda_handler` of many repositories."""
    deserialize = TypeDeserializer().deserialize
    entries = []
    for record in event["Records"]:
        change = record["dynamodb"]
        data = {name: deserialize(value) for name, value in change["NewImage"].items()}
        data["__operation"] = record["eventName"]
        data["__sequence_number"] = change["SequenceNumber"]
        data["__event_time"] = change["ApproximateCreationDateTime"]
        text = json.dumps(data, default=_float) + "\n"
        entries.append({"Data": text.encode(), "PartitionKey": record["eventID"]})
        if len(entries) == MAX_RECORDS:
            kinesis.put_records(StreamName="receipts", Records=entries)
            entries = []
    if entries:
        kinesis.put_records(StreamName="receipts", Records=entries)


def billed_bytes(sizes: Sequence[int]) -> int:
    """Return the bytes that Firehose bills for records of these sizes."""
    return sum(-(-size // BILLED_STEP) * BILLED_STEP for size in sizes)


def gb_seconds(cpu_s: float, memory_mb: int = MEMORY_MB) -> float:
    """Return what Lambda bills for this CPU time: a function of less memory than a processor's takes longer."""
    return cpu_s / min(1, memory_mb / PROCESSOR_MB) * memory_mb / 1024


def derive(rows: list[Row]) -> None:
    """Add CPU and GB-seconds per million changes, and dollars."""
    for row in rows:
        row["cpu_per_million_s"] = round(row["cpu_s"] * MILLION / row["changes"], 2)
        row["gb_seconds_per_million"] = round(gb_seconds(row["cpu_per_million_s"]), 1)
        row["dollars_per_million"] = round(row["billed_bytes_per_million"] / 1024**3 * price("firehose_gb"), 4)


BENCHMARK = Benchmark(
    name="packing",
    title="packing: a million changes from a stream to Kinesis and Firehose",
    competitors=[
        Competitor(f"{label}, {sender}", make(*size))
        for label, size in SIZES.items()
        for sender, make in (("dynalake", dynalake), ("one record per item", one_per_item))
    ],
    columns=(
        Column("per million changes", lambda r: str(r["name"])),
        Column("Kinesis records", lambda r: f"{r['records_per_million']:,}"),
        Column("sent GB", lambda r: f"{r['sent_bytes_per_million'] / 1024**3:.2f}"),
        Column("Firehose bills GB", lambda r: f"{r['billed_bytes_per_million'] / 1024**3:.2f}"),
        Column("$", lambda r: f"{r['dollars_per_million']:.2f}"),
        Column("CPU s", lambda r: f"{r['cpu_per_million_s']:.1f}"),
        Column("Lambda GB-s", lambda r: f"{r['gb_seconds_per_million']:.0f}"),
        Column("peak MB", lambda r: f"{r['peak_mb']:.0f}"),
    ),
    prepare=nothing,
    derive=derive,
    notes=(
        "GB of 2^30 bytes. Measured on fewer changes (see changes in the JSON) and scaled to a million. GB-seconds:",
        f"the CPU time at {MEMORY_MB} of the {PROCESSOR_MB:,} MB that give a processor, without the SDK and waiting.",
    ),
)


def _row(client: CountingClient, item_bytes: int, changes: int) -> Row:
    scale = MILLION / changes
    return {
        "item_bytes": item_bytes,
        "changes": changes,
        "records_per_million": round(len(client.sizes) * scale),
        "sent_bytes_per_million": round(sum(client.sizes) * scale),
        "billed_bytes_per_million": round(billed_bytes(client.sizes) * scale),
    }


def _setting(name: str) -> int:
    default = TableSettings.__dataclass_fields__[name].default
    assert isinstance(default, int)
    return default


def _float(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(f"{type(value).__name__} is not JSON serializable")
