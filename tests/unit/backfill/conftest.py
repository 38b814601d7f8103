"""The world of a backfill: a bucket in moto, everything else in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import boto3
import pytest

from dynalake.backfill.plan.run import BackfillPlan
from dynalake.names import Lake
from tests.unit.backfill.fakes import FakeTable, Kill
from tests.unit.backfill.flow import backfill
from tests.unit.backfill.world import World


@pytest.fixture
def world(mocked: boto3.Session, monkeypatch: pytest.MonkeyPatch) -> World:
    # So that a few KB of items make several parts.
    monkeypatch.setattr("dynalake.backfill.segment.parts.CHUNK_BYTES", 1000)
    monkeypatch.setattr(BackfillPlan, "target_text_bytes", 20_000)
    s3 = mocked.client("s3")
    names = Lake("dev", "123456789012", "us-east-1").table("RECEIPTS")
    s3.create_bucket(Bucket=names.lake.bucket)
    return World(names, s3)


@pytest.fixture
def run_backfill(world: World) -> Callable[..., Any]:
    """Plan, scan every segment and commit, as the DAG does."""

    def run(table: FakeTable, kill: Kill | None = None, **options: Any) -> Any:
        return backfill(world.clients(table, kill), world.names, **options)

    return run
