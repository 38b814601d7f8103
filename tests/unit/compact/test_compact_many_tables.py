"""Hundreds of tables in one run: what it asks of AWS, how many tasks it maps, and what it says of the rest."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from moto import mock_aws

from dynalake.catalog.register import register_table
from dynalake.clients import Clients
from dynalake.compact.plan import PartitionPlan, choose_oldest
from dynalake.errors import SettingsError
from dynalake.names import Lake
from dynalake.operators import compact, each_table, mapped, session, watch
from dynalake.operators.run_note import NOTE
from dynalake.settings import TableSettings
from tests.airflow.small_lake import make_lake
from tests.unit.compact.lake import KEY, noon

DAYS = ["20240101", "20240102", "20240103"]
TABLES = [f"T{number:03d}" for number in range(500)]
ASKED = ("t000_v1", "t000_v1_parquet", "t000_v1_json")
"""What a plan asks Glue for, of one table."""


class Run:
    """Tasks of one run, called as Airflow calls them; the AWS calls that they make, and what they push."""

    def __init__(self, clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clients = clients
        self.calls: Counter[str] = Counter()
        self.pushed: dict[str, Any] = {}
        files = {"format": "parquet", "codec": "zstd", "part_mb": 256, "sort_by": []}
        self.params: dict[str, Any] = {
            "environment": "many",
            "tables": [],
            "repaired": False,
            "days": [],
            "force": False,
            **files,
        }
        self.params |= {"max_quarantined": 0}
        at = noon("20240104")
        asked = SimpleNamespace(run_type="scheduled", data_interval_end=at, run_after=at)
        task = SimpleNamespace(xcom_push=self.pushed.__setitem__, xcom_pull=lambda **_: (), try_number=1, max_tries=3)
        context = {"dag_run": asked, "params": self.params, "run_id": "run", "ti": task}
        for module in (compact, each_table, session):
            monkeypatch.setattr(module, "get_current_context", lambda: context)
        for module in (compact, watch):
            monkeypatch.setattr(module, "clients", lambda: clients)
        for client in (clients.s3, clients.glue, clients.ssm, clients.sts):
            client.meta.events.register("before-call.*.*", lambda model, **_: self.calls.update([model.name]))

    def plan(self, tables: list[str]) -> list[dict[str, Any]]:
        self.calls.clear()
        return list(compact.plan.function(tables))


@pytest.fixture(scope="module")
def lake() -> Iterator[tuple[Clients, Lake]]:
    """500 tables with two days each, the first hundred with a third. One is registered; the others are its copies."""
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        patch.delenv("AWS_ENDPOINT_URL", raising=False)
        clients = Clients.of(boto3.Session("test", "test", region_name="us-east-1"))
        lake = make_lake(clients, "many")
        for number, table in enumerate(TABLES):
            names = lake.table(table)
            clients.ssm.put_parameter(
                Name=names.settings_parameter, Type="String", Value=TableSettings(table).to_json()
            )
            if not number:
                register_table(clients, names, KEY, source_arn="arn")
                found: Any = clients.glue.get_tables(DatabaseName=lake.database)["TableList"]
                kept = ("Name", "StorageDescriptor", "PartitionKeys", "TableType", "Parameters")
                made = json.dumps([{name: t[name] for name in kept if name in t} for t in found if t["Name"] in ASKED])
            else:
                for copy in json.loads(made.replace("T000", table).replace("t000", table.lower())):
                    clients.glue.create_table(DatabaseName=lake.database, TableInput=copy)
            for day in DAYS if number < 100 else DAYS[:2]:
                clients.s3.put_object(Bucket=lake.bucket, Key=f"{names.raw_day(day)}1.gz", Body=b"{}")
        yield clients, lake


@pytest.fixture
def run(lake: tuple[Clients, Lake], monkeypatch: pytest.MonkeyPatch) -> Run:
    return Run(lake[0], monkeypatch)


def test_five_hundred_tables_are_planned_in_one_run(run: Run) -> None:
    """With a few calls each, and no more tasks than Airflow maps: the oldest days of all tables come first."""
    tables = list(compact.tables.function())
    assert tables == TABLES
    # A page of SSM has ten parameters; the coming days of each table are registered.
    assert run.calls.total() <= 2 * len(TABLES) + len(TABLES) // 10 + 5, run.calls

    few = (run.plan(tables[:10]), run.calls.total())
    planned = run.plan(tables)
    each = (run.calls.total() - few[1]) / (len(tables) - 10)
    assert each <= 5, run.calls
    assert run.calls["ListObjectsV2"] <= len(tables)

    assert len(planned) == mapped.most_mapped() == 1000
    assert Counter(one["day"] for one in planned) == {DAYS[0]: 500, DAYS[1]: 500}
    assert "1,100 partitions are due. This run converts the 1,000 oldest, to dt=20240102" in run.pushed[NOTE]
    assert len(json.dumps(planned)) < 1_000_000


def test_what_is_forced_is_converted_again_whole_or_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next run could not tell what is left of it."""
    monkeypatch.setenv("AIRFLOW__CORE__MAX_MAP_LENGTH", "30")
    run.params |= {"days": DAYS, "force": True}
    assert len(run.plan(TABLES[:10])) == 30
    with pytest.raises(Exception, match=r"33 partitions are to be converted again.*name fewer days or tables"):
        run.plan(TABLES[:11])


def test_airflow_may_map_less(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__MAX_MAP_LENGTH", "40")
    assert len(run.plan(TABLES[:20])) == 40
    for tables in (compact.tables, watch.tables):
        with pytest.raises(Exception, match=r"500 tables.*40 tables.*core.max_map_length"):
            tables.function()


def test_nothing_is_left_out_where_there_is_room() -> None:
    due = [PartitionPlan(table, day, "new", 1, 1) for table in "ab" for day in DAYS]
    assert choose_oldest(due, 6) == tuple(due)
    assert [(p.table, p.day) for p in choose_oldest(due, 3)] == [("a", DAYS[0]), ("b", DAYS[0]), ("a", DAYS[1])]
    mapped.check_mapped(["a"] * mapped.MOST)
    with pytest.raises(SettingsError):
        mapped.check_mapped(["a"] * (mapped.MOST + 1))
