"""What a conversion on Spark is asked, as the job's arguments; and what it answers, as an object in the lake."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from botocore.exceptions import ClientError

from dynalake import errors
from dynalake.clients import Clients
from dynalake.compact.manifest import ConvertedPartition
from dynalake.convert.options import CompactOptions
from dynalake.errors import DynalakeError, NotReadyError
from dynalake.names import TableNames

FLAGS = ("--region", "--environment", "--table", "--day", "--options", "--beside", "--inputs", "--force")


@dataclass(frozen=True)
class Request:
    """One partition to convert. `inputs`: the digest of what lay there when it was asked for, if that is known."""

    region: str
    environment: str
    table: str
    day: str
    options: CompactOptions = field(default_factory=CompactOptions)
    beside: tuple[str, ...] = ()
    inputs: str = ""
    force: str = ""

    @property
    def run(self) -> str:
        """A name for it that a retry has too: 16 hexadecimal digits."""
        values = [self.environment, self.table, self.day, self.options.to_dict(), self.beside, self.inputs, self.force]
        return sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]

    def to_arguments(self) -> dict[str, str]:
        """The script's arguments, `{"--table": "RECEIPTS", …}`: no empty ones, which a service may drop or misread."""
        options = json.dumps(self.options.to_dict(), separators=(",", ":"))
        beside = json.dumps(self.beside, separators=(",", ":"))
        where = self.region, self.environment, self.table, self.day
        arguments = dict(zip(FLAGS, (*where, options, beside, self.inputs, self.force), strict=True))
        return {name: value for name, value in arguments.items() if value}

    @classmethod
    def from_arguments(cls, arguments: Sequence[str]) -> Request:
        """The reverse of `to_arguments`. What a service adds for itself (`--JOB_NAME`…) is left alone."""
        parser = argparse.ArgumentParser(prog="spark-job.py", allow_abbrev=False, description=__doc__)
        parser.add_argument("--region", required=True, help="the lake's AWS region")
        parser.add_argument("--environment", required=True, help="the lake")
        parser.add_argument("--table", required=True, help="the DynamoDB table")
        parser.add_argument("--day", required=True, help="YYYYMMDD, or 00000000 for the snapshot")
        parser.add_argument("--options", default="{}", type=json.loads, help="options of the compaction, as JSON")
        parser.add_argument("--beside", default="[]", type=json.loads, help="manifests published with it, as JSON")
        parser.add_argument("--inputs", default="", help="the digest of the raw objects, for whoever asked")
        parser.add_argument("--force", default="", help="convert again; the text becomes part of the version")
        found, _ = parser.parse_known_args(arguments)
        options = CompactOptions.from_dict(found.options)
        where = found.region, found.environment, found.table, found.day
        return cls(*where, options, tuple(found.beside), found.inputs, found.force)


def write_outcome(
    clients: Clients, names: TableNames, request: Request, outcome: ConvertedPartition | Exception
) -> None:
    """Tell whoever asked how it ended: the conversion, or the error."""
    values: dict[str, Any]
    if isinstance(outcome, ConvertedPartition):
        values = {"converted": outcome.to_dict()}
    elif isinstance(outcome, DynalakeError):
        kept = {"received": outcome.received, "allowed": outcome.allowed, "action": outcome.action, "ids": outcome.ids}
        values = {"error": {"type": type(outcome).__name__, **kept}}
    else:
        values = {"error": {"type": "NotReadyError", "received": f"{type(outcome).__name__}: {outcome}"[:4000]}}
    body = json.dumps(values, indent=1).encode()
    clients.s3.put_object(Bucket=names.lake.bucket, Key=names.spark_outcome(request.run), Body=body)


def read_outcome(clients: Clients, names: TableNames, request: Request) -> ConvertedPartition:
    """The conversion. Raises the error that the job has left, or `NotReadyError` where it has left nothing."""
    key = names.spark_outcome(request.run)
    try:
        with clients.s3.get_object(Bucket=names.lake.bucket, Key=key)["Body"] as body:
            values = json.loads(body.read())
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("404", "NoSuchKey"):
            raise
        raise NotReadyError(
            f"The Spark job of {request.table} dt={request.day} ended without an outcome",
            action="look at the run's log: a driver out of memory or a killed job says nothing itself",
            table=request.table,
            day=request.day,
        ) from None
    if "converted" in values:
        return ConvertedPartition.from_dict(values["converted"])
    found = values["error"]
    kind: type[DynalakeError] = getattr(errors, found["type"])
    raise kind(
        found["received"], allowed=found.get("allowed", ""), action=found.get("action", ""), **found.get("ids", {})
    )


def forget_outcome(clients: Clients, names: TableNames, request: Request) -> None:
    """Remove what an earlier attempt has left."""
    clients.s3.delete_object(Bucket=names.lake.bucket, Key=names.spark_outcome(request.run))
