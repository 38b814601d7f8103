"""Everything a backfill touches: a bucket, a table in memory, and a catalog that remembers one location."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass, field
from typing import Any

from dynalake.clients import Clients
from dynalake.names import TableNames
from tests.unit.backfill.fakes import FakeTable, Kill


@dataclass
class World:
    """Everything a backfill touches, and what a reader of the lake would see of it."""

    names: TableNames
    s3: Any
    catalog: dict[str, str] = field(default_factory=dict)

    def clients(self, table: FakeTable, kill: Kill | None = None) -> Clients:
        kill = kill or Kill()
        made = {"s3": self.s3, "dynamodb": table, "glue": Catalog(self.catalog)}
        return Clients(lambda service: kill.wrap(made[service]))

    def objects(self, prefix: str) -> dict[str, bytes]:
        bucket = self.names.lake.bucket
        return {key: self.s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in self._listed(prefix)}

    def lake(self) -> dict[str, str]:
        """Every data and state object, and the checksum of its content that S3 gives as its ETag."""
        return self._listed("")

    def _listed(self, prefix: str) -> dict[str, str]:
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.names.lake.bucket, Prefix=prefix)
        return {found["Key"]: found["ETag"] for page in pages for found in page.get("Contents", ())}

    def visible(self) -> list[dict[str, Any]]:
        """The records that a query of the snapshot sees."""
        location = self.catalog.get("location")
        if location is None:
            return []
        objects = self.objects(location.removeprefix(f"s3://{self.names.lake.bucket}/"))
        return [json.loads(line) for data in objects.values() for line in gzip.decompress(data).splitlines()]

    def wipe(self) -> None:
        if keys := [{"Key": key} for key in self.lake()]:
            self.s3.delete_objects(Bucket=self.names.lake.bucket, Delete={"Objects": keys})
        self.catalog.clear()


class Catalog:
    """Where the snapshot's partition points."""

    def __init__(self, location: dict[str, str]) -> None:
        self._location = location

    def shown(self) -> str | None:
        return self._location.get("location")

    def point(self, location: str) -> str | None:
        previous = self._location.get("location")
        self._location["location"] = location
        return previous
