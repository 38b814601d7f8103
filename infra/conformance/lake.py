"""The life of a small table, from items to SQL and teardown, in the roles of `infra/cloudformation/airflow.yaml`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dynalake.aws.clients import Clients
from dynalake.capture.lake.registry import load_lake
from dynalake.lake.catalog.table import Table
from infra.conformance.base import make_recoverable, table
from infra.conformance.dags import Dags
from infra.conformance.place import Place
from infra.conformance.sql import Athena, Compared, DuckDb, compare_lake
from infra.local.demo.items import changes, generated
from infra.local.demo.receipts import Item
from infra.local.demo.writing import apply_changes, write_items
from infra.local.run.keeper import REPOSITORY

ITEMS, CHANGES, SEED = 200, 150, 7
ROLES = REPOSITORY / "infra" / "cloudformation" / "airflow.yaml"
EXTREMES: Item = {
    "receiptId": {"S": "R-extremes"},
    "largest": {"N": "9.9999999999999999999999999999999999999E+125"},
    "smallest": {"N": "-1E-130"},
    "digits": {"N": "12345678901234567890123456789012345678"},
    "empty": {"S": ""},
    "nothing": {"B": b""},
    "control": {"S": "\x00\x1f\u2028\ufeff\U0010ffff"},
    "deep": {"M": {"a": {"L": [{"M": {"b": {"NS": ["1E+38", "-0.1"]}}}, {"BS": [b"\x00", b"\xff"]}, {"NULL": True}]}}},
    "total": {"S": "a string where other items have a number"},
}
"""An item at the limits of DynamoDB's types."""


@dataclass(frozen=True)
class Step:
    """One step of the table's life: `state` is `success`, `failed` or `left out`."""

    name: str
    state: str
    seconds: float
    detail: str = ""


@dataclass
class Life:
    """The results of the table's steps and comparisons."""

    steps: list[Step] = field(default_factory=list)
    compared: list[Compared] = field(default_factory=list)

    @property
    def fine(self) -> bool:
        return all(step.state == "success" for step in self.steps) and not any(
            c.difference_count for c in self.compared
        )


def live(place: Place, home: Path, life: Life, say: Callable[[str], None]) -> None:
    """Take a table through its life and record each step in `life`. After a failed step, leave out the rest."""
    made: dict[str, str] = {}
    loaded = generated(ITEMS, SEED)
    first = [*loaded.items, EXTREMES]
    # Without the extremes: a change would push their numbers beyond DynamoDB's limits.
    changed = list(changes(loaded.items, loaded.key, seed=SEED, count=CHANGES))
    dynamodb, where = place.client("dynamodb"), {"environment": place.lake.environment}

    def roles() -> None:
        parameters = {"Environment": place.lake.environment, "TrustedPrincipalArns": place.arn("iam", "root")}
        made.update(place.stack("roles", ROLES.read_text(encoding="utf-8"), parameters))
        # While the role is not known everywhere, the DAGs' first call would fail for good.
        place.assume(made["DagRoleArn"].rpartition("/")[2])

    def source() -> None:
        template = table("receiptId")
        template["Properties"]["TableName"] = place.lake.environment
        made["table"] = place.stack("source", {"Table": template})["Table"]
        make_recoverable(place, made["table"])
        write_items(dynamodb, made["table"], first)

    def in_lake() -> Table:
        clients = Clients(place.client)
        return Table(clients, load_lake(clients, place.lake.environment).table(made["table"]))

    def convert() -> None:
        written = len(first) + len(changed)

        def rows() -> int:
            dags.run("dynalake_convert", tables=[made["table"]], **where)
            return sum(file.rows for file in in_lake().changes().files())

        place.until(rows, lambda count: count >= written, seconds=1800)

    def compare() -> None:
        lake = in_lake()
        engine = DuckDb(place, lake) if place.local else Athena(place)
        life.compared += compare_lake(engine, lake, first, changed)

    def setup() -> None:
        options = {
            "deploy_role_arn": made["DeployRoleArn"],
            "permissions_boundary_arn": made["PermissionsBoundaryArn"],
        }
        dags.run("dynalake_setup", table=made["table"], backfill="none", **options, **where)

    def teardown() -> None:
        # Local AWS's minutes pass in seconds, but a run's own waits do not.
        rest = {"rest_seconds": 60} if place.local else {}
        dags.run("dynalake_teardown", table=made["table"], delete_data=made["table"], **rest, **where)

    steps: Sequence[tuple[str, Callable[[], Any]]] = (
        ("dynalake_setup", setup),
        ("changes", lambda: apply_changes(dynamodb, made["table"], loaded.key, changed)),
        ("dynalake_convert", convert),
        ("dynalake_backfill", lambda: dags.run("dynalake_backfill", table=made["table"], **where)),
        ("dynalake_compact", lambda: dags.run("dynalake_compact", tables=[made["table"]], fold=True, **where)),
        ("SQL", compare),
        ("dynalake_watch", lambda: dags.run("dynalake_watch", tables=[made["table"]], **where)),
        ("dynalake_teardown", teardown),
    )
    if _try(life, say, "roles", roles) and _try(life, say, "source", source):
        extra = {"role_arn": made["DagRoleArn"], "region_name": place.region}
        with Dags(home, place.lake.environment, place.aws, extra) as dags:
            for name, step in steps:
                if life.steps[-1].state == "success":
                    _try(life, say, name, step)
                else:
                    life.steps.append(Step(name, "left out", 0))


def _try(life: Life, say: Callable[[str], None], name: str, step: Callable[[], Any]) -> bool:
    started = time.monotonic()
    state, detail = "success", ""
    try:
        step()
    except Exception as error:
        state, detail = "failed", f"{type(error).__name__}: {error}"
    life.steps.append(Step(name, state, time.monotonic() - started, detail))
    say(f"{'✓' if state == 'success' else '✗'} {name} {detail}".rstrip())
    return state == "success"
