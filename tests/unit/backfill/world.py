"""Everything that a backfill touches: a bucket, and a table in memory."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from typing import Any

from dynalake.aws.clients import Clients
from dynalake.names import TableNames
from tests.unit.backfill.fakes import FakeTable, Kill


@dataclass
class World:
    """Everything that a backfill touches, and the input of a snapshot's conversion."""

    names: TableNames
    s3: Any

    def clients(self, table: FakeTable, kill: Kill | None = None) -> Clients:
        kill = kill or Kill()
        services = {"s3": self.s3, "dynamodb": table}
        return Clients(lambda service: kill.wrap(services[service]))

    def objects(self, prefix: str) -> dict[str, bytes]:
        bucket = self.names.lake.bucket
        return {key: self.s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in self._listed(prefix)}

    def lake(self) -> dict[str, str]:
        """Return every data and state object with its ETag, the checksum of its content."""
        return self._listed("")

    def _listed(self, prefix: str) -> dict[str, str]:
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.names.lake.bucket, Prefix=prefix)
        return {entry["Key"]: entry["ETag"] for page in pages for entry in page.get("Contents", ())}

    @property
    def committed(self) -> str | None:
        """Return the last committed run, which has a ledger, or None."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.names.lake.bucket, Prefix=self.names.backfill_states
        )
        ledgers = [o for page in pages for o in page.get("Contents", ()) if o["Key"].endswith("/ledger.json")]
        latest = max(ledgers, key=lambda o: o["LastModified"], default=None)
        return None if latest is None else str(latest["Key"].split("/")[-2])

    def visible(self) -> list[dict[str, Any]]:
        """Return the records of the last committed run."""
        if self.committed is None:
            return []
        objects = self.objects(self.names.snapshot_run(self.committed))
        return [json.loads(line) for data in objects.values() for line in gzip.decompress(data).splitlines()]

    def wipe(self) -> None:
        if keys := [{"Key": key} for key in self.lake()]:
            self.s3.delete_objects(Bucket=self.names.lake.bucket, Delete={"Objects": keys})
