"""`dynalake_certify` as Airflow runs it, on local AWS."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from dynalake.aws.clients import Clients
from dynalake.aws.dynamodb import turn_on_recovery
from dynalake.certify import doubts
from dynalake.certify.certificate import load_certificate
from dynalake.lake.catalog.table import Table
from dynalake.names import Lake
from tests.support.airflow.small_lake import add_table, make_lake, put
from tests.support.aws.capture_steps import make_table
from tests.support.aws.lake import convert

_numbers = count()


@pytest.fixture(scope="module")
def lake(clients: Clients) -> Lake:
    return make_lake(clients, "certifydag")


@pytest.fixture
def table(clients: Clients, lake: Lake) -> Table:
    """A table with two items, which are in its lake."""
    name = f"CERTIFY-{next(_numbers)}"
    make_table(clients, name)
    for item in "ab":
        clients.dynamodb.put_item(TableName=name, Item={"id": {"S": item}, "v": {"S": "x"}})
    table = add_table(clients, lake, name)
    put(table, "changes", "ab")
    assert convert(table) is not None
    return table


@pytest.mark.parametrize("method", ["scan", "export"])
def test_a_run_certifies_a_table(table: Table, method: str, run: Any, logs: Callable[[], str]) -> None:
    if method == "export":
        turn_on_recovery(table.clients, table.names.table)
    states = run("dynalake_certify", environment="certifydag", tables=[table.names.table])
    assert states == {
        "run": "success",
        "tables": "success",
        "export[0]": "success",
        "compare[0]": "success",
        "settle[0]": "success",
        "report": "success",
    }
    assert f"{table.names.table}: 2 items compared, 0 differences (by {method} as of " in logs()
    assert [*table.store.list(table.names.passing_prefix + "export/")] == []


@pytest.mark.newest
def test_a_difference_fails_the_run(
    table: Table, run: Any, logs: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doubts, "PATIENCE", 0)
    table.clients.dynamodb.delete_item(TableName=table.names.table, Key={"id": {"S": "a"}})
    states = run("dynalake_certify", environment="certifydag", tables=[table.names.table], method="scan")
    assert (states["settle[0]"], states["report"], states["run"]) == ("success", "failed", "failed")
    assert "1 item compared, 1 difference (1 only in the lake; by scan" in logs()
    assert "id='a': only in the lake" in logs()
    certificate = load_certificate(table)
    assert certificate is not None
    assert not certificate.equal
