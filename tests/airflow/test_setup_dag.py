"""`dynalake_setup` for several tables: a run of its own for each of them, with the same parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dynalake.aws.clients import Clients
from dynalake.operators.setup import LONGEST_ID, run_of
from tests.support.aws.capture_steps import make_table

Run = Callable[..., dict[str, Any]]
COLUMNS = '{"never": ["{{ 7 * 7 }}"]}'


def started() -> dict[str, dict[str, Any]]:
    """Return the `conf` of the runs that a run of this test has started, by table."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session

    with create_session() as session:
        runs = session.query(DagRun).filter(DagRun.dag_id == "dynalake_setup", DagRun.run_id.contains("__MANY-")).all()
        confs = [{"run_id": run.run_id, **(run.conf or {})} for run in runs]
    return {str(conf["table"]): conf for conf in confs}


def test_a_pattern_starts_a_run_for_each_table(clients: Clients, run: Run, logs: Callable[[], str]) -> None:
    for name in ("MANY-a", "MANY-b.c"):
        make_table(clients, name)
    # The lake of the stored DAGs, against which Airflow checks the `conf` of a started run.
    states = run("dynalake_setup", table="MANY-*", environment="dev", columns=COLUMNS, dry_run=True)
    assert states.pop("run") == "success"
    assert states.pop("choose_tables") == "success"
    assert [states.pop(f"set_up_each[{n}]") for n in range(2)] == ["success"] * 2
    assert set(states.values()) == {"skipped"}, "the rest of this run"
    runs = started()
    assert set(runs) == {"MANY-a", "MANY-b.c"}
    for table, conf in runs.items():
        assert conf["run_id"].endswith(f"__{table}")
        assert (conf["environment"], conf["columns"], conf["dry_run"]) == ("dev", COLUMNS, True)
        assert conf["bucket"] is None
    assert "MANY-*: 2 tables, each set up by its own run" in logs()
    assert "MANY-a, MANY-b.c" in logs()


@pytest.mark.newest
def test_nothing_starts_if_no_table_has_the_tag(run: Run, logs: Callable[[], str]) -> None:
    states = run("dynalake_setup", table="no-such-tag=1", environment="manydag")
    assert (states["run"], states["choose_tables"]) == ("failed", "failed")
    assert "has the tag 'no-such-tag=1'" in logs()


@pytest.mark.newest
def test_one_table_is_set_up_by_the_run_itself(run: Run, logs: Callable[[], str]) -> None:
    states = run("dynalake_setup", table="MANY-none", environment="manydag")
    assert (states["choose_tables"], states["check_source"]) == ("success", "failed")
    assert "There is no DynamoDB table 'MANY-none'" in logs()


@pytest.mark.parametrize("run_id", ["manual__1", "manual__" + "x" * 242])
def test_the_runs_ids_are_short_and_differ(run_id: str) -> None:
    tables = ["T", "T" * 254 + "a", "T" * 254 + "b"]
    ids = [run_of(run_id, table) for table in tables]
    assert ids == [run_of(run_id, table) for table in tables]
    assert len({*ids}) == 3
    # Airflow allows 250, and the id of the backfill that the run starts is longer.
    assert all(len(f"{name}__backfill__2019-05-25T12:00:00.000+00:00") <= 250 for name in ids)
    assert max(map(len, ids)) <= LONGEST_ID
