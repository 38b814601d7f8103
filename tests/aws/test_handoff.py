"""Every write before, during and after a backfill is in the lake, once, without a gap or contradiction at any moment.

`make test-handoff SEEDS=100` runs seeds 0 to 99 by each method, or by `METHOD=export` alone; `SEEDS=20-59` and
`SEED=17` run those.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dynalake.aws.clients import Clients
from dynalake.capture.lake.bucket import creates_bucket
from dynalake.capture.lake.registry import plan_lake
from dynalake.capture.stacks.package import build_package, place_code
from dynalake.capture.stacks.specs import forwarder_spec, storage_spec
from dynalake.capture.stacks.stacks import apply_stack
from infra.local.run.process import LocalAws
from tests.aws.handoff import Place, hand_over

METHODS = (os.environ.get("METHOD") or "scan export").split()


def _seeds(alone: str, wanted: str) -> range:
    """Return the seed `alone`, or those of `wanted`: `100` of them, or those from one to another, `20-59`."""
    if alone:
        return range(int(alone), int(alone) + 1)
    first, dash, last = wanted.partition("-")
    return range(int(first), int(last) + 1) if dash else range(int(first))


SEEDS = _seeds(os.environ.get("SEED") or "", os.environ.get("SEEDS") or "4")
MOMENTS = 50
"""Number of moments at which the history is compared."""


@pytest.fixture(scope="module")
def place(local_aws: LocalAws, client: Callable[[str], Any], clients: Clients) -> Iterator[Place]:
    """The lake's own stacks, shared by all tables."""
    lake = plan_lake(clients, "handoff")
    storage = apply_stack(clients, storage_spec(lake, create_bucket=creates_bucket(clients, lake)))
    package = build_package(lake)
    forwarder = apply_stack(clients, forwarder_spec(lake, storage, place_code(clients, lake, package)))

    def fail(**fault: Any) -> None:
        local_aws.call("POST", "/_dynalake/faults", fault)

    yield Place(clients, lake, storage, forwarder, client("dynamodbstreams"), fail, local_aws.env())
    local_aws.call("DELETE", "/_dynalake/faults")


@pytest.mark.sweep
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("method", METHODS)
def test_the_lake_equals_the_table_at_any_moment_and_has_every_change_once(
    place: Place, method: str, seed: int
) -> None:
    try:
        hand_over(place, method, seed, MOMENTS)
    except BaseException as error:
        error.add_note(f"method {method}, seed {seed}; alone: make test-handoff SEED={seed}")
        raise
