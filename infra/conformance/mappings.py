"""Experiments on Lambda's event source mappings, at their limits."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

from infra.conformance.base import function, mapping, objects, table, writer
from infra.conformance.experiment import Seen, experiment
from infra.conformance.place import Place, RefusedError

ERRORS = "https://docs.aws.amazon.com/lambda/latest/dg/services-dynamodb-errors.html"


def _map(place: Place, name: str, *, fails: bool = False, **properties: Any) -> dict[str, str]:
    resources = {"Table": table(), "Function": function(place, name, fails=fails), "Mapping": mapping(**properties)}
    return place.stack(name, resources)


def _destination(place: Place) -> dict[str, Any]:
    return {"OnFailure": {"Destination": place.arn("s3", place.base["Bucket"])}}


@experiment(
    asks="Is BatchSize 100 with MaximumBatchingWindowInSeconds 0 accepted for a DynamoDB stream?",
    documented="When you set BatchSize to a value greater than 10, you must set the window to at least 1.",
    page="https://docs.aws.amazon.com/lambda/latest/api/API_CreateEventSourceMapping.html",
    local="refused",
    matters="The setting batch_window_seconds, which may be 0.",
)
def batch_window(place: Place) -> Seen:
    try:
        _map(place, "batch-window", BatchSize=100, MaximumBatchingWindowInSeconds=0)
    except RefusedError as error:
        return Seen("refused", str(error))
    return Seen("accepted")


@experiment(
    asks="How long after a mapping is Disabled does it still invoke its function?",
    documented="During updates it may take several minutes to stop and restart polling events.",
    page="https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html",
    local="for some time",
    matters="A teardown sends its last canaries once the mapping has ended.",
)
def disabled_mapping(place: Place) -> Seen:
    name = "disabled-mapping"
    made = _map(place, name, BatchSize=1)
    functions, write = place.client("lambda"), writer(place, made["Table"])
    place.until(lambda: write() or objects(place, f"{name}/"))
    functions.update_event_source_mapping(UUID=made["Mapping"], Enabled=False)

    def state() -> Any:
        write()
        return functions.get_event_source_mapping(UUID=made["Mapping"])["State"]

    place.until(state, lambda name: name == "Disabled")
    disabled = time.time()
    for _ in range(60):
        write()
        place.wait(5)
    # The function names its objects by its own clock.
    called = [int(entry["Key"].rpartition("/")[2]) / 1e9 - disabled for entry in objects(place, f"{name}/")]
    late = [seconds for seconds in called if seconds > 1]
    last = max(late, default=0.0) * place.time_scale
    return Seen("for some time" if late else "not at all", f"{len(late)} calls, the last one {last:.0f} s later.")


@experiment(
    asks="Does a record that is too old before its first call go to the function, or to the on-failure destination?",
    documented="MaximumRecordAgeInSeconds is the maximum age of a record that Lambda sends to your function.",
    page=ERRORS,
    local="rejected",
    matters="The setting max_record_age_seconds: a first setup reads changes of 24 hours.",
)
def record_age(place: Place) -> Seen:
    name = "record-age"
    made = place.stack(f"{name}-table", {"Table": table()})
    writer(place, made["Table"])()
    place.wait(150)
    stream = place.client("dynamodb").describe_table(TableName=made["Table"])["Table"]["LatestStreamArn"]
    reader = mapping(EventSourceArn=stream, MaximumRecordAgeInSeconds=60, DestinationConfig=_destination(place))
    uuid = place.stack(name, {"Function": function(place, name), "Mapping": reader})["Mapping"]
    arrived = place.until(lambda: [*objects(place, f"{name}/"), *objects(place, f"aws/lambda/{uuid}/")])
    rejected = str(arrived[0]["Key"]).startswith("aws/")
    return Seen("rejected" if rejected else "sent to the function")


@experiment(
    asks="How long do ten retries take if the function fails at once?",
    documented="The batch is retried until it succeeds, is too old, or has no retries left; the pace is not stated.",
    page=ERRORS,
    local="rejected after 11 calls",
    matters="The setting max_retries: how long a temporary failure may last.",
)
def retry_pace(place: Place) -> Seen:
    name = "retry-pace"
    made = _map(place, name, fails=True, MaximumRetryAttempts=10, DestinationConfig=_destination(place))
    writer(place, made["Table"])()
    (rejected, *_) = place.until(lambda: objects(place, f"aws/lambda/{made['Mapping']}/"), seconds=3600)
    times = [o["LastModified"] for o in objects(place, f"{name}/")]
    pauses = ", ".join(f"{(after - before).total_seconds():.0f}" for before, after in pairwise(times))
    seconds = (rejected["LastModified"] - times[0]).total_seconds()
    return Seen(f"rejected after {len(times)} calls", f"In {seconds:.0f} s; pauses in seconds: {pauses}.")
