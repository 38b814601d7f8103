"""Events of commits: what other DAGs get, and the example that reads them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from airflow.models import dagrun
from airflow.models.asset import AssetDagRunQueue, AssetEvent, AssetModel
from airflow.models.dag import DagModel
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from sqlalchemy import delete, func, select

from dynalake.aws.clients import Clients
from dynalake.errors import SettingsError
from tests.support.airflow.dag_bag import load_bag, store_bag
from tests.support.airflow.small_lake import add_table, make_lake, put
from tests.support.examples import example, run_by

Run = Callable[..., dict[str, Any]]
CONSUMERS = ["example_consumer", "my_report", "of_all_tables"]

OF_ALL_TABLES = """
from airflow.sdk import DAG, AssetAlias
dag = DAG(dag_id="of_all_tables", schedule=[AssetAlias("dynalake")])
"""


@pytest.fixture(scope="module")
def consumers(stored: None, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The document's DAGs and one for all tables, as Airflow has stored them."""
    folder = tmp_path_factory.mktemp("consumers")
    (folder / "of_all_tables.py").write_text(OF_ALL_TABLES)
    for number, name in enumerate(run_by(__file__)):
        (folder / f"example_{number}.py").write_text(example(name))
    bag = load_bag(folder)
    assert bag.import_errors == {}
    assert sorted(bag.dags) == CONSUMERS
    store_bag(bag)
    return bag.dags


class Events:
    """Events since now: Airflow's database has those of earlier sessions, too."""

    def __init__(self, consumers: Any) -> None:
        self._dags = consumers
        with create_session() as session:
            for model in session.scalars(select(DagModel).where(DagModel.dag_id.in_(consumers))):
                model.is_paused = False
            session.execute(delete(AssetDagRunQueue))
            self._since = session.scalar(select(func.max(AssetEvent.id))) or 0

    def waiting(self) -> list[str]:
        """Return the DAGs that the scheduler would start now."""
        with create_session() as session:
            return sorted({model.dag_id for model in DagModel.dags_needing_dagruns(session)[0]} & {*self._dags})

    def extras(self, uri: str) -> list[dict[str, Any]]:
        """Return the extras of an asset's events."""
        with create_session() as session:
            query = select(AssetEvent).join(AssetModel, AssetEvent.asset_id == AssetModel.id)
            query = query.where(AssetModel.uri == uri, AssetEvent.id > self._since).order_by(AssetEvent.id)
            return [event.extra for event in session.scalars(query)]

    def consume(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        """Run the example with all events, as the scheduler would, and return what its last task returned."""
        make: Any = dagrun.get_or_create_dagrun

        def make_with_events(**values: Any) -> Any:
            made, session = make(**values), values["session"]
            query = select(AssetEvent).where(AssetEvent.id > self._since)
            made.consumed_asset_events = list(session.scalars(query))
            session.commit()
            return made

        monkeypatch.setattr(dagrun, "get_or_create_dagrun", make_with_events)
        made = self._dags["example_consumer"].test()
        assert str(made.state) == "success"
        with create_session() as session:
            query = XComModel.get_many(run_id=made.run_id, dag_ids="example_consumer", task_ids="report")
            (returned,) = session.scalars(query).all()
            return XComModel.deserialize_value(returned)


@pytest.fixture
def events(consumers: Any) -> Events:
    return Events(consumers)


def test_commits_and_closed_days_are_events_that_the_example_reads(
    clients: Clients, run: Run, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = make_lake(clients, "dev")
    table = add_table(clients, lake, "RECEIPTS")
    day, today = put(table, "1", "ab", ago=2), put(table, "1", "c")
    assert events.waiting() == []

    assert run("dynalake_convert", environment="dev")["run"] == "success"

    (committed,) = events.extras("dynalake://dev/RECEIPTS")
    assert committed.pop("bytes") == sum(file.size for file in table.changes().files())
    assert committed == {
        "kind": "commit",
        "days": f"{day},{today}",
        "rows": 3,
        "files": 2,
        "snapshot_id": str(table.changes().snapshot_id),
        "new_columns": "v",
    }
    assert events.waiting() == CONSUMERS

    states = run("dynalake_compact", environment="dev", fold=True)

    assert (states["run"], states["compact[0]"]) == ("success", "success")
    _, closed, folded = events.extras("dynalake://dev/RECEIPTS")
    assert (closed["kind"], closed["days"], closed["rows"], closed["new_columns"]) == ("day", day, 2, "")
    assert (folded["kind"], folded["days"], folded["rows"]) == ("fold", "", 3)
    assert events.consume(monkeypatch) == f"SELECT count(*) FROM receipts WHERE dt = '{day}'"


@pytest.mark.newest
def test_a_night_that_fails_leaves_its_events_to_the_next_commit(
    clients: Clients, run: Run, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = make_lake(clients, "assetfault")
    table = add_table(clients, lake, "RECEIPTS")
    day = put(table, "1", "ab", ago=2)
    run("dynalake_convert", environment="assetfault")

    def fail(*_: Any, **__: Any) -> None:
        raise SettingsError("the fold is broken", allowed="a fold that works", action="nothing: this is a test")

    with monkeypatch.context() as broken:
        broken.setattr("dynalake.night.night.fold", fail)
        states = run("dynalake_compact", environment="assetfault", fold=True)
    assert states["compact[0]"] == "failed"
    assert len(events.extras("dynalake://assetfault/RECEIPTS")) == 1

    put(table, "2", "c")
    run("dynalake_convert", environment="assetfault")

    extras = events.extras("dynalake://assetfault/RECEIPTS")
    assert [(extra["kind"], extra["rows"]) for extra in extras] == [("commit", 2), ("day", 2), ("commit", 1)]
    assert extras[1]["days"] == day
