"""A lake in moto, and what a reader finds in its Parquet."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dynalake.catalog.partitions import list_partitions
from dynalake.clients import Clients
from dynalake.compact.convert import compact_day
from dynalake.compact.manifest import ConvertedPartition
from dynalake.compact.plan import PartitionPlan, plan_table
from dynalake.compact.publish import Published, publish_table
from dynalake.compact.widen import plan_reconversions
from dynalake.convert.options import CompactOptions
from dynalake.days import SNAPSHOT_DAY
from dynalake.names import TableNames
from dynalake.record.change import encode_change
from dynalake.record.key import ItemKey, KeyAttribute

KEY = ItemKey(KeyAttribute("id", "S"), KeyAttribute("n", "N"))
Image = Mapping[str, Any]
MADE = 4_000_000_000_000
"""When changes were made: after all days of the tests, so that no record can have come before its day."""


def noon(day: str) -> datetime:
    """Noon of the day, UTC."""
    return datetime.strptime(day, "%Y%m%d").replace(hour=12, tzinfo=UTC)


@dataclass
class TestLake:
    """One table: raw objects put by hand, compaction as Airflow's tasks call it."""

    __test__ = False
    clients: Clients
    names: TableNames
    options: CompactOptions = field(default_factory=CompactOptions)
    sequence: int = 0

    def lines(self, images: Iterable[Image], operation: str = "INSERT", made: int = MADE) -> list[str]:
        """A change record for each image, with the next sequence numbers."""
        lines = []
        for image in images:
            self.sequence += 1
            number = 0 if operation == "SNAPSHOT" else self.sequence
            lines.append(encode_change(image, operation=operation, sequence_number=str(number), event_time=made))
        return lines

    def put(self, day: str, name: str, lines: Iterable[str] | bytes, run: str = "") -> str:
        """Put raw lines (gzipped), or bytes as they are. Returns the key."""
        prefix = self.names.snapshot_run(run) if day == SNAPSHOT_DAY else self.names.raw_day(day)
        body = lines if isinstance(lines, bytes) else gzip.compress("".join(f"{x}\n" for x in lines).encode())
        self.clients.s3.put_object(Bucket=self.names.lake.bucket, Key=prefix + name, Body=body)
        return prefix + name

    def convert(self, now: datetime, days: Iterable[str] = (), force: str = "") -> list[ConvertedPartition]:
        """Both rounds of conversion."""
        plans = plan_table(self.clients, self.names, self.options, now, days, force)
        converted = [self._convert(plan) for plan in plans]
        return converted + [
            self._convert(plan) for plan in plan_reconversions(self.clients, self.names, converted, self.options)
        ]

    def _convert(self, plan: PartitionPlan) -> ConvertedPartition:
        return compact_day(self.clients, self.names, plan.day, self.options, plan.beside, force=plan.force)

    def run(self, now: datetime, days: Iterable[str] = (), force: str = "") -> Published:
        """A whole run."""
        return publish_table(self.clients, self.names, self.convert(now, days, force), self.options, now)

    def end_lease(self) -> None:
        """The time passes for which a run that was killed keeps the table's lease."""
        self.clients.s3.delete_object(Bucket=self.names.lake.bucket, Key=self.names.lease)

    def objects(self, prefix: str = "") -> dict[str, str]:
        """Key → ETag."""
        pages = self.clients.s3.get_paginator("list_objects_v2").paginate(Bucket=self.names.lake.bucket, Prefix=prefix)
        return {o["Key"]: o["ETag"] for page in pages for o in page.get("Contents", [])}

    def body(self, key: str) -> bytes:
        return self.clients.s3.get_object(Bucket=self.names.lake.bucket, Key=key)["Body"].read()

    def published(self, day: str) -> list[pa.Table]:
        """The parts of the day's published version."""
        partition = list_partitions(self.clients, self.names, self.names.typed_table)[day]
        prefix = partition.location.removeprefix(self.names.uri(""))
        return [pq.read_table(io.BytesIO(self.body(key))) for key in sorted(self.objects(prefix))]
