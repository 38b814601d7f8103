"""`dynalake_setup` for several tables, each of which gets a run of its own; and for a copy of a bucket."""

from __future__ import annotations

import gzip
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from dynalake.aws.clients import Clients
from dynalake.capture.lake.registry import find_settings, load_lake
from dynalake.lake.catalog.table import Table
from dynalake.operators.setup import LONGEST_ID, run_of
from dynalake.record.change import encode_change
from dynalake.record.key import ItemKey, KeyAttribute
from tests.support.aws.capture_steps import make_table
from tests.support.aws.lake import convert, make_lake, register, right_now

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


def test_the_catalog_of_a_copied_bucket_is_restored_without_a_dynamodb_table(clients: Clients, run: Run) -> None:
    original, bucket = make_lake(clients), f"copied-{uuid.uuid4()}"
    table = register(clients, original.table("COPIED"), ItemKey(KeyAttribute("id", "S")))
    line = encode_change({"id": {"S": "a"}}, operation="INSERT", sequence_number="1", event_time=1_700_000_000_000)
    table.store.write(f"{table.names.raw_day(original.day_of(right_now()))}0.gz", gzip.compress(line.encode()))
    assert convert(table) is not None
    (path,) = (file.path for file in table.changes().files())
    clients.s3.create_bucket(Bucket=bucket)
    for stored in list(table.store.list("")):
        source: Any = {"Bucket": original.bucket, "Key": stored.key}
        clients.s3.copy_object(Bucket=bucket, Key=stored.key, CopySource=source)
    table.store.delete_all(stored.key for stored in list(table.store.list("")))
    of = {"environment": "copydag", "bucket": bucket, "catalog_only": True}

    planned = run("dynalake_setup", table="COPIED", dry_run=True, **of)
    assert (planned["run"], planned["plan"], planned["deploy.storage"]) == ("success", "success", "skipped")
    states = run("dynalake_setup", table="COPIED", **of)

    done = {task for task, state in states.items() if state == "success"}
    assert done == {"run", "choose_tables", "check_source", "plan", "deploy.storage", "restore_catalog"}
    assert set(states.values()) == {"success", "skipped"}
    copy = Table(clients, load_lake(clients, "copydag").table("COPIED"))
    assert [file.path for file in copy.changes().files()] == [path.replace(original.bucket, bucket)]
    assert find_settings(copy) is None
