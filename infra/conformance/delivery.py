"""Experiments on Kinesis and Firehose: the behaviour that decides whether a change arrives."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from dynalake.aws.clients import Clients
from dynalake.aws.cloudwatch import Metric, read_metrics
from infra.conformance.base import body, firehose, function, kinesis_stream, mapping, objects, table, writer
from infra.conformance.experiment import Seen, experiment
from infra.conformance.place import Place, RefusedError

ZONES = ("Asia/Calcutta", "Asia/Kolkata")
QUIET_SECONDS = 15 * 60


def _put(place: Place, stream: str, content: bytes) -> float:
    """Put a record and return the time."""
    place.client("kinesis").put_record(StreamName=stream, Data=content + b"\n", PartitionKey="one")
    return time.time()


def _delivered(place: Place, prefix: str) -> list[bytes]:
    return [line for entry in objects(place, f"{prefix}/") for line in body(place, entry["Key"]).splitlines()]


@experiment(
    asks="Does Firehose accept current names of time zones, such as Asia/Kolkata?",
    documented="A closed list contains the old names, such as Asia/Calcutta.",
    page="https://docs.aws.amazon.com/firehose/latest/dev/s3-object-name.html",
    local="Asia/Calcutta accepted, Asia/Kolkata refused",
    matters="The option time_zone, which a lake keeps for good.",
)
def firehose_time_zones(place: Place) -> Seen:
    answers, reasons = [], []
    for zone in ZONES:
        try:
            delivery = firehose(place, zone, CustomTimeZone=zone)
            place.stack(f"zone-{zone.partition('/')[2].lower()}", {"Delivery": delivery})
            answers.append(f"{zone} accepted")
        except RefusedError as error:
            answers.append(f"{zone} refused")
            reasons.append(str(error))
    return Seen(", ".join(answers), "; ".join(reasons))


@experiment(
    asks="How long after a Firehose stream becomes ACTIVE does it still miss records of its Kinesis stream?",
    documented="It starts reading from the LATEST position of the Kinesis stream. AWS does not say when.",
    page="https://docs.aws.amazon.com/firehose/latest/dev/create-name.html",
    local="something missed after ACTIVE",
    matters="A setup proves each shard with canaries before the first change may be sent.",
)
def firehose_latest(place: Place) -> Seen:
    name = "firehose-latest"
    stream = place.stack(name, {"Stream": kinesis_stream()})["Stream"]
    delivery, active, put = place.stack_name(f"{name}-delivery"), 0.0, dict[bytes, float]()
    resource = firehose(place, name, stream)
    resource["Properties"]["DeliveryStreamName"] = delivery
    stacks, deliveries = place.client("cloudformation"), place.client("firehose")
    template = json.dumps({"Resources": {"Delivery": resource}})
    stacks.create_stack(StackName=delivery, TemplateBody=template, Tags=place.tags)
    began = time.time()
    while not active or time.time() < active + 180 / place.time_scale:
        content = b"%d" % len(put)
        put[content] = _put(place, stream, content)
        if not active:
            try:
                described = deliveries.describe_delivery_stream(DeliveryStreamName=delivery)[
                    "DeliveryStreamDescription"
                ]
                active = time.time() if described["DeliveryStreamStatus"] == "ACTIVE" else 0.0
            except deliveries.exceptions.ResourceNotFoundException:
                pass
        if time.time() > began + max(900 / place.time_scale, 60) and not active:
            raise TimeoutError(f"{delivery} was not ACTIVE within 15 minutes")
        place.wait(0.5)
    place.until(lambda: content in _delivered(place, name))
    missed = [at - active for content, at in put.items() if content not in set(_delivered(place, name))]
    after = sum(late > 0 for late in missed)
    answer = f"{'something' if after else 'nothing'} missed after ACTIVE"
    last = f"the last one {max(missed):.1f} s after ACTIVE" if missed else "none"
    return Seen(answer, f"Of {len(put)} records {len(missed)} were missed, {last}.")


@experiment(
    asks="If S3 refuses writes for a while, does Firehose later write a shard's records in order?",
    documented="AWS says nothing about the order of writes that are tried again.",
    page="https://docs.aws.amazon.com/firehose/latest/dev/retry.html",
    local="in order",
    matters="A teardown takes the arrival of its last canaries as proof that everything before them has arrived.",
)
def firehose_order(place: Place) -> Seen:
    name = "firehose-order"
    stream = place.stack(name, {"Stream": kinesis_stream()})["Stream"]
    place.stack(f"{name}-delivery", {"Delivery": firehose(place, name, stream)})
    place.wait(180)
    s3, bucket = place.client("s3"), place.base["Bucket"]
    refused = {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject"}
    refused["Resource"] = f"{place.arn('s3', bucket)}/{name}/*"
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [refused]}))
    try:
        for number in range(5):
            _put(place, stream, b"%d" % number)
            place.wait(70)
    finally:
        s3.delete_bucket_policy(Bucket=bucket)
    place.until(lambda: len(_delivered(place, name)) >= 5, seconds=1800)
    order = [line.decode() for line in _delivered(place, name)]
    return Seen("in order" if order == sorted(order) else "out of order", f"They arrived as {', '.join(order)}.")


@experiment(
    asks="Which metrics have values while nothing is written?",
    documented="Lambda emits PolledEventCount 0 for an empty poll; AWS says nothing of Kinesis and Firehose.",
    page="https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html",
    local="PolledEventCount (EventSourceMappingUUID), GetRecords.Success (StreamName)",
    matters="The alarms on a pipeline that nothing reads, which treat missing values as an alarm; and a teardown, "
    "which waits until KinesisMillisBehindLatest and DataFreshness are 0 or missing.",
)
def idle_metrics(place: Place) -> Seen:
    name = "idle-metrics"
    counted = mapping(MetricsConfig={"Metrics": ["EventCount"]})
    reading = {"Table": table(), "Function": function(place, name), "Mapping": counted}
    made = place.stack(name, {"Stream": kinesis_stream(), **reading})
    delivery = place.stack(f"{name}-delivery", {"Delivery": firehose(place, name, made["Stream"])})["Delivery"]
    writer(place, made["Table"])()
    place.until(lambda: objects(place, f"{name}/"))
    place.wait(180)
    _put(place, made["Stream"], b"one")
    place.until(lambda: b"one" in _delivered(place, name))
    quiet = datetime.now(UTC) + timedelta(seconds=180 / place.time_scale)
    place.wait(180 + QUIET_SECONDS)
    expected: Sequence[tuple[str, str, str, Sequence[str]]] = (
        ("AWS/Lambda", "EventSourceMappingUUID", made["Mapping"], ("PolledEventCount",)),
        ("AWS/Lambda", "FunctionName", made["Function"], ("Invocations", "IteratorAge")),
        (
            "AWS/Kinesis",
            "StreamName",
            made["Stream"],
            ("GetRecords.Success", "GetRecords.IteratorAgeMilliseconds", "IncomingRecords"),
        ),
        (
            "AWS/Firehose",
            "DeliveryStreamName",
            delivery,
            (
                "KinesisMillisBehindLatest",
                "DataReadFromKinesisStream.Records",
                "DeliveryToS3.Success",
                "DeliveryToS3.DataFreshness",
            ),
        ),
    )
    metrics = {
        f"metric_{metric}".replace(".", "_"): Metric(namespace, metric, dimension, value, "Maximum")
        for namespace, dimension, value, names in expected
        for metric in names
    }
    points = read_metrics(Clients(place.client), metrics, quiet, datetime.now(UTC), 60)
    largest = {f"{m.name} ({m.dimension})": max(v for _, v in points[id_]) for id_, m in metrics.items() if points[id_]}
    moving = [f"{name}: {value:g}" for name, value in largest.items() if value > 0 and "DeliveryStreamName" in name]
    detail = f"Nothing was written for {QUIET_SECONDS // 60} minutes. {'; '.join(moving)}"
    return Seen(", ".join(largest) or "none", detail.strip())
