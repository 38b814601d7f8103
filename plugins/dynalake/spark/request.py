"""A job's request, as its arguments, and its answer, as an object in the lake."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from dynalake import errors
from dynalake.errors import DynalakeError, NotReadyError
from dynalake.lake.catalog.table import Table
from dynalake.names import TableNames
from dynalake.spark.executors import PART_BYTES

CONVERT, COMPACT, SNAPSHOT = "convert", "compact", "snapshot"

FLAGS = ("--region", "--environment", "--table", "--work", "--request")


@dataclass(frozen=True)
class Request:
    """One table's work: `convert`, `compact` (a night's) or `snapshot`.

    `values`: its details, as JSON has them (`spark/work.py`). `part_bytes`: the size of a part, by the job or by the
    person who starts it.
    """

    region: str
    environment: str
    table: str
    work: str
    values: Mapping[str, Any] = field(default_factory=dict)
    part_bytes: int = PART_BYTES

    @classmethod
    def of(cls, names: TableNames, work: str, values: Mapping[str, Any]) -> Request:
        return cls(names.lake.region, names.lake.environment, names.table, work, values)

    @property
    def run(self) -> str:
        """Name of the request that a retry has too: 16 hexadecimal digits."""
        return sha256(json.dumps(self.to_arguments(), sort_keys=True).encode()).hexdigest()[:16]

    def to_arguments(self) -> dict[str, str]:
        """Return the script's arguments, `{"--table": "RECEIPTS", …}`."""
        values = json.dumps(self.values, sort_keys=True, separators=(",", ":"))
        return dict(zip(FLAGS, (self.region, self.environment, self.table, self.work, values), strict=True))

    @classmethod
    def from_arguments(cls, arguments: Sequence[str]) -> Request:
        """Return the request from what `to_arguments` returned, without what a service adds (`--JOB_NAME`…)."""
        parser = argparse.ArgumentParser(prog="spark-job.py", allow_abbrev=False, description=__doc__)
        parser.add_argument("--region", required=True, help="the lake's AWS region")
        parser.add_argument("--environment", required=True, help="the lake")
        parser.add_argument("--table", required=True, help="the DynamoDB table")
        parser.add_argument("--work", required=True, choices=[CONVERT, COMPACT, SNAPSHOT])
        parser.add_argument(
            "--request", default="{}", type=json.loads, help="details of the work, as JSON (docs/engines.md)"
        )
        parser.add_argument("--part-bytes", default=PART_BYTES, type=int, help="larger days and merges are split")
        args, _ = parser.parse_known_args(arguments)
        return cls(args.region, args.environment, args.table, args.work, args.request, args.part_bytes)


def write_outcome(table: Table, request: Request, outcome: Mapping[str, Any] | Exception) -> None:
    """Report to the sender how the job ended: the work done, or the error."""
    values: dict[str, Any]
    if isinstance(outcome, DynalakeError):
        text = {"received": outcome.received, "allowed": outcome.allowed, "action": outcome.action, "ids": outcome.ids}
        values = {"error": {"type": type(outcome).__name__, **text}}
    elif isinstance(outcome, Exception):
        values = {"error": {"type": "NotReadyError", "received": f"{type(outcome).__name__}: {outcome}"[:4000]}}
    else:
        values = {"done": dict(outcome)}
    body = json.dumps(values, indent=1).encode()
    table.store.write(table.names.spark_outcome(request.run), body)


def read_outcome(table: Table, request: Request) -> dict[str, Any]:
    """Return the work done. Raise the error that the job has left, or `NotReadyError` where it has left nothing."""
    stored = table.store.read_json(table.names.spark_outcome(request.run))
    if stored is None:
        raise NotReadyError(
            f"The Spark job to {request.work} {request.table} ended without an outcome",
            action="read the run's log: a killed job, or one whose driver is out of memory, reports nothing itself",
            table=request.table,
        )
    if "done" in stored.value:
        return dict(stored.value["done"])
    fault = stored.value["error"]
    kind: type[DynalakeError] = getattr(errors, fault["type"])
    raise kind(
        fault["received"], allowed=fault.get("allowed", ""), action=fault.get("action", ""), **fault.get("ids", {})
    )


def forget_outcome(table: Table, request: Request) -> None:
    """Remove the outcome of an earlier attempt."""
    table.store.delete(table.names.spark_outcome(request.run))
