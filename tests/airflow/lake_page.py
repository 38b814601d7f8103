"""The page with made-up readings, without an Airflow or a lake behind it: what its tests share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dynalake.certify.certificate import Certificate
from dynalake.days import milliseconds
from dynalake.lake.current.past_folds import PastFold
from dynalake.lake.working.findings import Finding
from dynalake.names import Lake
from dynalake.watch.history import HOUR_MS, History, Point, add_look
from dynalake.watch.judge import Targets
from dynalake.watch.readings import (
    Capture,
    Comparison,
    Day,
    Doubt,
    Held,
    Landing,
    Month,
    Readings,
    SeenColumn,
    Size,
    Source,
)
from dynalake.watch.readings import Lake as SeenLake
from dynalake.watch.status import Overview, TableStatus

LAKE = Lake("dev", "123456789012", "eu-west-1")
EVIL = '<script>alert("x")</script>'


def well(minutes_ago: int = 0) -> Readings:
    """Return a healthy table, watched these minutes ago."""
    now = datetime.now(UTC) - timedelta(minutes=minutes_ago)
    at = milliseconds(now)
    size = Size(1234, 1500, 3)
    return Readings(
        at=at,
        hand_off=at,
        capture=Capture("uuid", "Enabled", "OK", at, 10, 2.0),
        landing=Landing(30, 0, at - 60_000, at - 90_000, 30),
        lake=SeenLake(
            changes=size,
            state=Size(99, 500, 1),
            newest_change=at - 100_000,
            folded_to=at - 7_200_000,
            unconverted=3,
            unconverted_since=at - 60_000,
            run=1,
            snapshot="run",
            days=(Day(LAKE.day_of(now), size),),
            live=98,
            columns=(
                SeenColumn("id", "id", "string"),
                SeenColumn("userid_6c", "userId", "decimal(38,2)", at, "bigint", at),
            ),
            held=(Held("price", 7, "bigint"), Held("vote", 2)),
            held_attributes=2,
            held_values=9,
            folds=(
                PastFold(at - 7_200_000, 70_210, 41_022, 512_400, 41_300_000, 3, 9_600_000_000),
                PastFold(at - 93_600_000, 8_412_301, 6_120_774, 31_204_551, 2_900_000_000, 12, 9_500_000_000),
                PastFold(at - 180_000_000, 412_301_882, 98_001_441, 98_001_441, 9_400_000_000, 37, 9_400_000_000),
            ),
        ),
        rejected={"mapping": 0, "forwarder": 0, "delivery": 0, "convert": 0},
        comparison=Comparison(at, 20, 20),
        source=Source(101, 5000),
        month=Month(at, "kinesis, 1 × shard", {"Lambda": 0.5, "Kinesis": 10.95}),
    )


def stopped() -> Readings:
    return replace(well(), capture=Capture("uuid", "Disabled", "", well().at - 3_600_000))


def hostile() -> Readings:
    """Return a status whose outside values are hostile."""
    differing = Doubt(f'["{EVIL}"]', "x", well().at, well().at)
    capture = replace(well().capture, last_result=f"PROBLEM: {EVIL}")
    lake = replace(
        well().lake,
        snapshot=EVIL,
        queries={"spark": EVIL},
        findings=(Finding("x", EVIL, EVIL, EVIL),),
        columns=(SeenColumn(EVIL, EVIL, EVIL, 1, EVIL, 1),),
        held=(Held(EVIL, 1, EVIL),),
    )
    month = Month(well().at, EVIL, {EVIL: 1.0})
    comparison = Comparison(well().at, 1, 0, (), (differing,))
    return replace(well(), capture=capture, lake=lake, comparison=comparison, month=month, owner=EVIL)


def history() -> History:
    """Return looks of the last 30 hours: late for one of them, eight hours ago."""
    now, seen = milliseconds(datetime.now(UTC)), History()
    for back in range(180, -1, -1):
        late = 48 <= back < 54
        seen = add_look(
            seen, Point(now - back * HOUR_MS // 6, 100.0, 3000.0 if late else 60.0, 0.0, "late" if late else "ok")
        )
    return seen


def overview(**tables: Readings) -> Overview:
    statuses = (
        replace(TableStatus.of(name, readings, Targets()), history=history()) for name, readings in tables.items()
    )
    return Overview("dev", milliseconds(datetime.now(UTC)), tuple(statuses))


class Page:
    """The protected application, and the content that it would read from S3."""

    def __init__(self, client: Any, tokens: dict[str, str]) -> None:
        self.client, self.tokens = client, tokens
        self.content: Any = None
        self.certificate: Certificate | None = None
        self.environments: list[str] = []

    def read(self, environment: str) -> Any:
        self.environments.append(environment)
        if isinstance(self.content, Exception):
            raise self.content
        from dynalake.ui.data import Content

        lake = replace(LAKE, environment=environment)
        return Content(environment, lake, self.content) if isinstance(self.content, Overview) else self.content

    def read_status(self, environment: str, table: str) -> TableStatus | None:
        """Return the status with the parts that the overview leaves out."""
        status: TableStatus = next(status for status in self.content.tables if status.table == table)
        lake = replace(status.readings.lake, queries={"spark": "SELECT `id`", **status.readings.lake.queries})
        return replace(status, readings=replace(status.readings, lake=lake))

    def get(self, path: str = "/", user: str = "viewer") -> Any:
        headers = {"Authorization": f"Bearer {self.tokens[user]}"} if user in self.tokens else {}
        return self.client.get(path, headers=headers)


@pytest.fixture(scope="module")
def running_page() -> Iterator[Page]:
    from airflow.api_fastapi.app import create_auth_manager, get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from airflow.utils.db import initdb
    from fastapi.testclient import TestClient

    from dynalake.airflow_plugin import DynalakePlugin

    initdb()
    create_auth_manager().init()
    (mounted,) = DynalakePlugin().fastapi_apps
    users = {
        "viewer": SimpleAuthManagerUser(username="viewer", role="viewer"),
        "nobody": SimpleAuthManagerUser(username="nobody", role=None),
        "starter": SimpleAuthManagerUser(username="starter", role="user"),
    }
    tokens = {name: get_auth_manager().generate_jwt(user) for name, user in users.items()}
    with TestClient(mounted["app"]) as client:
        yield Page(client, {**tokens, "stranger": "not.a.token"})


@pytest.fixture
def page(running_page: Page, monkeypatch: pytest.MonkeyPatch) -> Page:
    monkeypatch.setattr("dynalake.ui.app.read_content", running_page.read)
    monkeypatch.setattr("dynalake.ui.app.read_status", running_page.read_status)
    monkeypatch.setattr("dynalake.ui.app.read_certificate", lambda environment, table: running_page.certificate)
    monkeypatch.setenv("DYNALAKE_LAKES", '{"dev": {}, "staging": {}, "prod": {}}')
    running_page.environments, running_page.certificate = [], None
    running_page.content = overview(RECEIPTS=well(), STOPPED=stopped(), STALE=well(150))
    return running_page
