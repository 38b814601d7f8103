"""No gap, no contradiction: whatever is written before, during and after setup and backfill is in the lake, once.

`make test-handoff SEEDS=100` runs as many seeds by each method, or by `METHOD=export` alone; `SEED=17` is that one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dynalake.capture.bucket import creates_bucket
from dynalake.capture.lake import plan_lake
from dynalake.capture.package import build_package, upload_package
from dynalake.capture.specs import forwarder_spec, storage_spec
from dynalake.capture.stacks import apply_stack
from dynalake.clients import Clients
from dynalake.names import Lake
from infra.local.process import LocalAws
from tests.aws.handoff import Place, hand_over

METHODS = (os.environ.get("METHOD") or "scan export").split()
_alone = os.environ.get("SEED")
SEEDS = [int(_alone)] if _alone else range(int(os.environ.get("SEEDS") or 3))


@pytest.fixture(scope="module")
def place(local_aws: LocalAws, client: Callable[[str], Any], clients: Clients) -> Iterator[Place]:
    """The lake's own stacks, which all the tables share."""
    lake = plan_lake(clients, "handoff")
    storage = apply_stack(clients, storage_spec(lake, create_bucket=creates_bucket(clients, lake)))
    package = build_package(lake)
    upload_package(clients, lake, package)
    forwarder = apply_stack(clients, forwarder_spec(lake, storage, package.key))

    def fail(**fault: Any) -> None:
        local_aws.call("POST", "/_dynalake/faults", fault)

    yield Place(clients, lake, storage, forwarder, client("dynamodbstreams"), fail, query(clients, lake))
    local_aws.call("DELETE", "/_dynalake/faults")


def query(clients: Clients, lake: Lake) -> Callable[[str], list[tuple[str | None, ...]]]:
    """Runs SQL in Athena: every value as text."""

    def run(sql: str) -> list[tuple[str | None, ...]]:
        query_id = clients.athena.start_query_execution(
            QueryString=sql, QueryExecutionContext={"Database": lake.database}, WorkGroup=lake.workgroup
        )["QueryExecutionId"]
        while True:
            status = clients.athena.get_query_execution(QueryExecutionId=query_id)["QueryExecution"]["Status"]
            if status["State"] not in ("QUEUED", "RUNNING"):
                break
            time.sleep(0.01)
        assert status["State"] == "SUCCEEDED", status
        pages = clients.athena.get_paginator("get_query_results").paginate(QueryExecutionId=query_id)
        rows = [row["Data"] for page in pages for row in page["ResultSet"]["Rows"]]
        return [tuple(value.get("VarCharValue") for value in row) for row in rows[1:]]

    return run


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("method", METHODS)
def test_the_lake_equals_the_table_and_holds_every_change_once(place: Place, method: str, seed: int) -> None:
    try:
        hand_over(place, method, seed)
    except BaseException as error:
        error.add_note(f"method {method}, seed {seed}; alone: make test-handoff SEED={seed}")
        raise
