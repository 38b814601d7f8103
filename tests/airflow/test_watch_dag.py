"""`dynalake_watch` as Airflow runs it, on local AWS."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from dynalake.aws.clients import Clients
from dynalake.capture.lake.registry import find_topic
from dynalake.errors import SettingsError
from dynalake.lake.catalog.table import Table
from dynalake.lake.tables.make import make_tables
from dynalake.names import Lake
from dynalake.operators.watch import leave_reading
from dynalake.options.settings import TableSettings
from dynalake.ui.data import read_content, read_status
from dynalake.watch.readings import Readings
from dynalake.watch.status import load_overview, load_status, save_status
from tests.support.aws.capture_steps import SetUp, make_table, set_up, wait_for_changes


def captured(clients: Clients, table: str, environment: str = "watchdag") -> SetUp:
    make_table(clients, table)
    setup = set_up(clients, environment, TableSettings(table))
    make_tables(Table(clients, setup.names), setup.source.key, setup.source.arn)
    return setup


def mails(clients: Clients, lake: Lake) -> Callable[[], list[tuple[str, str]]]:
    """Subscribe to the lake's topic; return a function that returns subject and text of the watch's mails since.

    The lake's alarms go to the same topic.
    """
    sqs: Any = clients._make("sqs")
    queue = sqs.create_queue(QueueName=f"mails-{lake.environment}")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    topic = find_topic(clients, lake)
    assert topic is not None
    clients.sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)

    def received() -> list[tuple[str, str]]:
        bodies = []
        while listed := sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", []):
            for entry in listed:
                sqs.delete_message(QueueUrl=queue, ReceiptHandle=entry["ReceiptHandle"])
                bodies.append(json.loads(entry["Body"]))
        return [(b["Subject"], b["Message"]) for b in bodies if b["Subject"].startswith("dynalake ")]

    return received


@pytest.mark.newest
def test_a_table_that_cannot_be_watched_fails_the_run(clients: Clients, run: Any) -> None:
    """Its settings and its last status cannot be read. The page still shows it, and the other table."""
    setup = captured(clients, "DAG-SEEN", "watchhalf")
    unseen = captured(clients, "DAG-UNSEEN", "watchhalf").names
    clients.ssm.put_parameter(Name=unseen.settings_parameter, Type="String", Value="{not JSON", Overwrite=True)
    clients.s3.put_object(Bucket=unseen.lake.bucket, Key=unseen.watch_state, Body=b"[" * 200_000)
    states = run("dynalake_watch", environment="watchhalf")
    assert (states["look[0]"], states["look[1]"], states["report"], states["run"]) == (
        "success",
        "failed",
        "failed",
        "failed",
    )
    overview = load_overview(clients, setup.names.lake)
    assert overview is not None
    assert [(status.table, status.readings.at > 0) for status in overview.tables] == [
        ("DAG-SEEN", True),
        ("DAG-UNSEEN", False),
    ]


def test_repaired_tables_must_be_named(run: Any, logs: Callable[[], str]) -> None:
    states = run("dynalake_watch", environment="watchhalf", repaired=True)
    assert (states["tables"], states["report"], states["run"]) == ("failed", "failed", "failed")
    assert "repaired is set, and tables is empty" in logs()


@pytest.mark.newest  # with the lake of the test above
def test_more_tables_than_airflow_maps_are_refused(
    run: Any, logs: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__MAX_MAP_LENGTH", "1")
    states = run("dynalake_watch", environment="watchhalf")
    assert (states["tables"], states["run"]) == ("failed", "failed")
    assert "2 tables" in logs()
    assert "core.max_map_length" in logs()


def test_each_table_has_a_task_that_fails_if_it_needs_attention(
    clients: Clients, run: Any, logs: Callable[[], str]
) -> None:
    well, stopped = captured(clients, "DAG-WELL"), captured(clients, "DAG-STOPPED")
    clients.dynamodb.put_item(TableName="DAG-WELL", Item={"id": {"S": "1"}})
    wait_for_changes(clients, well.names, 1)
    clients.lambda_.update_event_source_mapping(UUID=stopped.mapping_id, Enabled=False)
    received = mails(clients, well.names.lake)
    states = run("dynalake_watch", environment="watchdag")
    assert states == {
        "run": "failed",
        "tables": "success",
        "look[0]": "failed",
        "look[1]": "success",
        "report": "failed",
    }
    assert "DAG-STOPPED is stopped: The mapping that reads the stream is Disab" in logs()

    # The page reads one object with both tables.
    overview = load_overview(clients, well.names.lake)
    assert overview is not None
    assert [(status.table, status.state) for status in overview.tables] == [
        ("DAG-STOPPED", "stopped"),
        ("DAG-WELL", "attention"),
    ]
    assert read_content("watchdag").overview == overview
    status = read_status("watchdag", "DAG-WELL")
    assert status is not None
    objects = clients.s3.list_objects_v2(Bucket=well.names.lake.bucket, Prefix=well.names.raw_prefix)["Contents"]
    assert status.readings.lake.unconverted == len(objects), "the canaries' objects, and the change's"
    assert "duckdb" in status.readings.lake.queries
    with pytest.raises(SettingsError, match="'nowhere' is not one of this Airflow's lakes"):
        read_content("nowhere")

    ((subject, message),) = received()
    assert subject == "dynalake watchdag: DAG-STOPPED is stopped"
    assert f"aws lambda update-event-source-mapping --uuid {stopped.mapping_id} --enabled" in message
    run("dynalake_watch", environment="watchdag")
    assert received() == [], "nothing has changed since then"


def test_other_dags_leave_a_reading_that_yields_to_the_watch(
    clients: Clients, monkeypatch: pytest.MonkeyPatch, logs: Callable[[], str]
) -> None:
    table = Table(clients, captured(clients, "DAG-LEFT", "watchleft").names)
    leave_reading(table)
    left = load_status(table)
    assert left is not None
    assert (left.state, [c.name for c in left.readings.lake.columns]) == ("attention", ["id"])
    assert left.readings.source.items is not None
    assert left.readings.month is not None
    assert "There is no snapshot since the hand-off" in logs()

    looked = replace(left, readings=replace(left.readings, repaired_at=1))

    def gather_while_the_watch_looks(*args: Any, **options: Any) -> Readings:
        save_status(table, looked)
        return left.readings

    monkeypatch.setattr("dynalake.watch.gather.gather", gather_while_the_watch_looks)
    leave_reading(table)
    assert load_status(table) == looked
