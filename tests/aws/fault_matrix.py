"""Writes items while something fails, and counts all of them at the end.

As a script it prints the table: `PYTHONPATH=plugins .venv/bin/python -m tests.aws.fault_matrix`
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from dynalake.aws.clients import Clients
from dynalake.capture.failed.failed import list_failed, read_batch
from dynalake.lake.catalog.table import Table
from dynalake.names import TableNames
from dynalake.options.settings import TableSettings
from infra.local.run.process import LocalAws
from tests.support.aws.capture_steps import LARGEST, break_changes, make_table, raw_changes, set_up
from tests.support.waiting import PATIENCE

DELIVERIES = ("kinesis", "direct")
BATCH = 10
THROTTLED = {"kinesis": "ProvisionedThroughputExceededException", "direct": "ServiceUnavailableException"}


@dataclass
class Trial:
    """One table, its faults, and its writes."""

    aws: LocalAws
    clients: Clients
    names: TableNames
    delivery: str
    written: int = 0
    """Changes made in DynamoDB."""
    extra: list[str] = field(default_factory=list)

    def fail(self, **fault: Any) -> None:
        """Arm a fault."""
        self.aws.call("POST", "/_dynalake/faults", fault)

    def fail_stream(self, **fault: Any) -> None:
        """Arm a fault of the stream that the forwarder writes to."""
        kinesis = self.delivery == "kinesis"
        self.fail(
            service="kinesis" if kinesis else "firehose",
            operation="PutRecords" if kinesis else "PutRecordBatch",
            resource=self.names.stream if kinesis else self.names.direct_delivery_stream,
            **{"code": THROTTLED[self.delivery], **fault},
        )

    def heal(self) -> None:
        """Clear all faults."""
        self.aws.call("DELETE", "/_dynalake/faults")

    def write(self, count: int, size: int = 2000) -> None:
        """Put new items in batches, since single puts would take most of the time."""
        for first in range(0, count, BATCH):
            numbers = range(self.written, self.written + min(BATCH, count - first))
            items: list[Any] = [{"id": {"S": f"item-{number}"}, "text": {"S": "x" * size}} for number in numbers]
            requests: Any = {self.names.table: [{"PutRequest": {"Item": item}} for item in items]}
            assert not self.clients.dynamodb.batch_write_item(RequestItems=requests)["UnprocessedItems"]
            self.written += len(numbers)

    def put(self, key: str, text: str = "") -> None:
        """Put one item."""
        self.clients.dynamodb.put_item(TableName=self.names.table, Item={"id": {"S": key}, "text": {"S": text}})
        self.written += 1


@dataclass(frozen=True)
class Outcome:
    """The numbers of changes, by what became of them during one fault."""

    fault: str
    delivery: str
    written: int
    in_lake: int
    """Different changes in the raw zone."""
    duplicates: int
    """Repeated lines in the raw zone, which compaction removes."""
    rejected: int
    """Different changes, with a reason, in the forwarder's error prefix or at the on-failure destination."""
    both: int
    """Changes in the lake that are rejected, too: their batch was given up after a part of it was stored."""
    reasons: tuple[str, ...]

    @property
    def lost(self) -> int:
        return self.written - (self.in_lake + self.rejected - self.both)


def partly_throttled(trial: Trial) -> None:
    # If half of the entries failed, the last ones would need a seventh round: longer pauses, and no other fault.
    trial.fail_stream(fraction=0.3, times=40)
    trial.write(200)


def throttled_for_minutes(trial: Trial) -> None:
    """Every entry is refused for longer than several invocations last, so they end without storing anything."""
    function = trial.names.lake.forwarder
    trial.clients.lambda_.update_function_configuration(FunctionName=function, Timeout=4)
    trial.fail_stream()
    trial.write(200)
    time.sleep(3)
    trial.heal()
    trial.clients.lambda_.update_function_configuration(FunctionName=function, Timeout=60)


def stream_fails_internally(trial: Trial) -> None:
    trial.fail_stream(code="InternalFailure", status=500, times=7)
    trial.write(200)


def answer_of_the_stream_is_lost(trial: Trial) -> None:
    """The stream stores a request, and its response is lost."""
    trial.fail_stream(code="InternalFailure", status=500, after=True, times=3)
    trial.write(200)


def killed_before_the_put(trial: Trial) -> None:
    trial.fail(service="lambda", operation="Invoke", code="Runtime.ExitError", times=6, resource=forwarder(trial))
    trial.write(200)


def killed_between_put_and_return(trial: Trial) -> None:
    """The whole batch is stored, and the function dies before it can report that."""
    trial.fail(
        service="lambda", operation="Invoke", code="Runtime.ExitError", times=4, resource=forwarder(trial), after=True
    )
    trial.write(200)


def malformed_records_in_the_middle(trial: Trial) -> None:
    trial.write(100)
    break_changes(trial.aws, trial.names.table, times=2)
    trial.write(100)


def items_over_the_limit(trial: Trial) -> None:
    """The largest possible item, of the characters that JSON makes longest, and one just too long for a record."""
    trial.write(100)
    trial.put("large-1", "\x01" * (LARGEST - len("idlarge-1text")))
    trial.write(50)
    trial.put("large-2", "x" * 6_000)
    trial.write(48)


def error_prefix_refuses(trial: Trial) -> None:
    """For a while, the changes that cannot pass cannot be rejected either."""
    prefix = trial.names.rejected("forwarder")
    trial.fail(service="s3", operation="PutObject", code="SlowDown", status=503, key_prefix=prefix, times=6)
    malformed_records_in_the_middle(trial)


def s3_slows_down(trial: Trial) -> None:
    """Neither Firehose nor the forwarder can write into the raw zone for a while."""
    trial.fail(
        service="s3", operation="PutObject", code="SlowDown", status=503, key_prefix=trial.names.raw_prefix, times=10
    )
    items_over_the_limit(trial)


def given_up_by_the_mapping(trial: Trial) -> None:
    """The function dies for longer than the retries last, sometimes after it stored the batch."""
    resource = forwarder(trial)
    trial.fail(service="lambda", operation="Invoke", code="Runtime.ExitError", times=3, resource=resource, after=True)
    trial.fail(service="lambda", operation="Invoke", code="Runtime.ExitError", times=20, resource=resource)
    trial.write(200)


def everything_at_once(trial: Trial) -> None:
    resource = forwarder(trial)
    trial.fail_stream(fraction=0.3, times=60)
    trial.fail_stream(code="InternalFailure", status=500, after=True, times=4)
    trial.fail(
        service="lambda", operation="Invoke", code="Runtime.ExitError", fraction=0.4, times=12, resource=resource
    )
    trial.fail(service="lambda", operation="Invoke", code="Runtime.ExitError", times=5, resource=resource, after=True)
    trial.fail(service="s3", operation="PutObject", code="SlowDown", status=503, fraction=0.4, times=30)
    trial.write(100)
    trial.put("large", "x" * 100_000)
    break_changes(trial.aws, trial.names.table)
    trial.write(99)


@dataclass(frozen=True)
class Fault:
    """A fault, the table's settings, and how many changes may only be rejected."""

    happen: Callable[[Trial], None]
    rejected: int | None = 0
    """None: any number, which depends on the moment of the fault."""
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.happen.__name__.replace("_", " ")


SMALL = {"max_record_kb": 5, "max_retries": 100}
FAULTS = (
    Fault(partly_throttled, settings=SMALL),
    Fault(throttled_for_minutes, settings=SMALL),
    Fault(stream_fails_internally, settings=SMALL),
    Fault(answer_of_the_stream_is_lost, settings=SMALL),
    Fault(killed_before_the_put),
    Fault(killed_between_put_and_return),
    Fault(malformed_records_in_the_middle, rejected=2),
    Fault(items_over_the_limit, settings=SMALL),
    Fault(error_prefix_refuses, rejected=2, settings=SMALL),
    Fault(s3_slows_down, settings=SMALL),
    Fault(given_up_by_the_mapping, rejected=None, settings={"max_retries": 1}),
    Fault(everything_at_once, rejected=1, settings=SMALL),
)


def forwarder(trial: Trial) -> str:
    """Return the function's name."""
    return trial.names.lake.forwarder


def run(aws: LocalAws, clients: Clients, number: int, fault: Fault, delivery: str) -> tuple[Outcome, TableNames]:
    """Run one fault; return what became of every change."""
    table = f"FAULT-{delivery}-{number}"
    make_table(clients, table)
    settings = TableSettings(table, delivery=delivery, buffer_seconds=15, **fault.settings)
    names = set_up(clients, f"faults-{delivery}", settings).names
    trial = Trial(aws, clients, names, delivery)
    try:
        fault.happen(trial)
        outcome = settle(clients, trial, fault)
    finally:
        trial.heal()
    return outcome, names


def settle(clients: Clients, trial: Trial, fault: Fault) -> Outcome:
    """Count as soon as every change is somewhere, and nothing moves any more."""
    deadline = time.monotonic() + PATIENCE
    before: Outcome | None = None
    while True:
        outcome = count(clients, trial, fault)
        if (outcome.lost <= 0 and outcome == before) or time.monotonic() > deadline:
            return outcome
        before = outcome
        # Longer than the mapping's longest pause and Firehose's buffer and longest pause on local AWS together.
        time.sleep(0.8 if outcome.lost <= 0 else 0.1)


def count(clients: Clients, trial: Trial, fault: Fault) -> Outcome:
    """Count the changes by where they are now."""
    lines = [change["__sequence_number"] for change in raw_changes(clients, trial.names)]
    rejected: dict[str, str] = {}
    for batch in list_failed(Table(clients, trial.names)):
        content = read_batch(Table(clients, trial.names), batch.key)
        for record in content.records if content else []:
            rejected[record["dynamodb"]["SequenceNumber"].zfill(40)] = batch.reason
    stored = set(lines)
    return Outcome(
        fault=fault.name,
        delivery=trial.delivery,
        written=trial.written,
        in_lake=len(stored),
        duplicates=len(lines) - len(stored),
        rejected=len(rejected),
        both=len(stored & set(rejected)),
        reasons=tuple(sorted(set(rejected.values()))),
    )


def show(outcomes: list[Outcome]) -> str:
    """Return the table of the release note."""
    rows = [("fault", "delivery", "items written", "changes in the lake", "duplicates", "rejected", "in both", "lost")]
    for o in outcomes:
        numbers = (o.written, o.in_lake, o.duplicates, o.rejected, o.both, o.lost)
        rows.append((o.fault, o.delivery, *map(str, numbers)))  # type: ignore[arg-type]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


@contextmanager
def _local() -> Iterator[tuple[LocalAws, Clients]]:
    import boto3

    with tempfile.TemporaryDirectory() as folder, LocalAws(Path(folder) / "server.log") as aws:
        make: Any = boto3.Session(aws.key, aws.key, region_name="us-east-1").client
        yield aws, Clients(partial(make, endpoint_url=aws.endpoint_url))


def main() -> None:
    """Run every fault with both deliveries."""
    outcomes = []
    with _local() as (aws, clients):
        for number, fault in enumerate(FAULTS):
            for delivery in DELIVERIES:
                outcome, _ = run(aws, clients, number, fault, delivery)
                print(json.dumps(outcome.__dict__), flush=True)
                outcomes.append(outcome)
    print(show(outcomes))


if __name__ == "__main__":
    main()
