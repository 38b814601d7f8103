"""Send the batches that an event source mapping rejects to its on-failure destination.

https://docs.aws.amazon.com/lambda/latest/dg/services-dynamodb-errors.html
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ministack.services import dynamodb_streams

from infra.local.aws import metrics
from infra.local.aws.iam import access
from infra.local.aws.lambda_.stream_batches import Batch, created, sequence_number
from infra.local.aws.s3 import objects


def send(mapping: Mapping[str, Any], function: Mapping[str, Any], batch: Batch, condition: str) -> None:
    """Deliver the invocation record to S3; a batch that cannot be delivered is counted and dropped, as on AWS."""
    destination = ((mapping.get("DestinationConfig") or {}).get("OnFailure") or {}).get("Destination")
    if not destination:
        return
    now = datetime.now(UTC)
    content = {
        **_invocation_record(mapping, batch, condition, now),
        # Only S3 gets the records themselves: the whole event, as a JSON string.
        "payload": json.dumps({"Records": list(batch.records)}),
    }
    shard = dynamodb_streams._DEFAULT_SHARD_ID
    key = f"aws/lambda/{mapping['UUID']}/{shard}/{now:%Y/%m/%d/%Y-%m-%dT%H.%M.%S}-{uuid.uuid4()}"
    requests = [("s3:PutObject", f"{destination}/{key}"), ("s3:ListBucket", destination)]
    allowed = access.allows(str(function["config"].get("Role", "")), "lambda.amazonaws.com", requests)
    delivered = allowed and objects.put(destination.rpartition(":")[2], key, json.dumps(content).encode())[0] == 200
    if not delivered:
        name = {"FunctionName": str(mapping["FunctionName"])}
        metrics.publish("AWS/Lambda", "DestinationDeliveryFailures", 1, "Count", name)
    count(mapping, "OnFailureDestinationDeliveredEventCount" if delivered else "DroppedEventCount", len(batch.records))


def count(mapping: Mapping[str, Any], metric: str, events: int) -> None:
    """Publish a metric of the mapping, if its configuration enables metrics.

    https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html#event-source-mapping-metrics
    """
    if "EventCount" in ((mapping.get("MetricsConfig") or {}).get("Metrics") or []):
        dimensions = {"EventSourceMappingUUID": str(mapping["UUID"])}
        metrics.publish("AWS/Lambda", metric, events, "Count", dimensions)


def _invocation_record(mapping: Mapping[str, Any], batch: Batch, condition: str, now: datetime) -> dict[str, Any]:
    first, last = batch.records[0], batch.records[-1]
    return {
        "requestContext": {
            "requestId": str(uuid.uuid4()),
            "functionArn": mapping["FunctionArn"],
            "condition": condition,
            "approximateInvokeCount": batch.attempts,
        },
        "responseContext": {
            "statusCode": 200,
            "executedVersion": mapping.get("Qualifier") or "$LATEST",
            "functionError": "Unhandled",
        },
        "version": "1.0",
        "timestamp": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "DDBStreamBatchInfo": {
            "shardId": dynamodb_streams._DEFAULT_SHARD_ID,
            "startSequenceNumber": sequence_number(first),
            "endSequenceNumber": sequence_number(last),
            "approximateArrivalOfFirstRecord": _instant(created(first)),
            "approximateArrivalOfLastRecord": _instant(created(last)),
            "batchSize": len(batch.records),
            "streamArn": mapping["EventSourceArn"],
        },
    }


def _instant(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
