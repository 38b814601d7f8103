"""What OpenLineage learns of a run: the events that Airflow's provider writes to a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dynalake.aws.clients import Clients
from dynalake.options.settings import TableSettings
from tests.support.airflow.small_lake import add_table, make_lake, put
from tests.support.aws.capture_steps import make_table, set_up
from tests.support.aws.lake import register

Run = Callable[..., dict[str, Any]]
Sent = Callable[..., list[dict[str, Any]]]

# The oldest Airflow is tested as most people have it: without the provider.
pytestmark = pytest.mark.newest


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sent]:
    """The events of these tasks since the last question. The provider writes to the first file that it gets."""
    file = tmp_path_factory.mktemp("openlineage") / "events.json"

    def read(*tasks: str) -> list[dict[str, Any]]:
        events = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        file.unlink(missing_ok=True)
        return [event for event in events if event["job"]["name"] in tasks]

    with pytest.MonkeyPatch.context() as environment:
        transport = {"type": "file", "log_file_path": str(file), "append": True}
        environment.setenv("AIRFLOW__OPENLINEAGE__TRANSPORT", json.dumps(transport))
        yield read


def named(datasets: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(dataset["namespace"], dataset["name"]) for dataset in datasets]


def test_a_conversion_and_a_night_tell_what_they_read_and_write(clients: Clients, run: Run, sent: Sent) -> None:
    lake = make_lake(clients, "lineage")
    table = add_table(clients, lake, "RECEIPTS")
    put(table, "1", "ab", ago=2)
    put(table, "1", "c")
    bucket, glue = f"s3://{lake.bucket}", f"arn:aws:glue:{lake.region}:{lake.account}"
    raw, changes = (bucket, "dynamodb/json/RECEIPTS"), (bucket, "dynamodb/parquet/RECEIPTS/changes")

    assert run("dynalake_convert", environment="lineage")["run"] == "success"

    (event,) = sent("dynalake_convert.commit")
    (written,) = event["outputs"]
    assert (named(event["inputs"]), named(event["outputs"])) == ([raw], [changes])
    facets, amounts = written["facets"], written["outputFacets"]["outputStatistics"]
    types = {field["name"]: field["type"] for field in facets["schema"]["fields"]}
    assert (types["id"], types["__event_time"], types["__other"]) == ("string", "bigint", "map<string,string>")
    assert [(link["namespace"], link["name"]) for link in facets["symlinks"]["identifiers"]] == [
        (glue, "table/dynalake_lineage/receipts")
    ]
    assert facets["version"]["datasetVersion"] == str(table.changes().snapshot_id)
    assert facets["storage"]["storageLayer"] == "iceberg"
    assert (amounts["rowCount"], amounts["fileCount"]) == (3, 2)
    assert amounts["size"] == sum(file.size for file in table.changes().files())

    assert run("dynalake_compact", environment="lineage", fold=True)["run"] == "success"

    (event,) = sent("dynalake_compact.compact")
    parquet, state = (glue, "table/dynalake_lineage/receipts_parquet"), (bucket, "dynamodb/parquet/RECEIPTS/items")
    assert named(event["inputs"]) == [changes]
    assert sorted(named(event["outputs"])) == sorted([changes, parquet, state])
    rows = {
        dataset["name"]: dataset["outputFacets"]["outputStatistics"]["rowCount"]
        for dataset in event["outputs"]
        if dataset.get("outputFacets")
    }
    assert rows == {changes[1]: 2, state[1]: 3}


def test_a_backfill_reads_the_table_and_shows_its_raw_objects(clients: Clients, run: Run, sent: Sent) -> None:
    make_table(clients, "FILLED")
    clients.dynamodb.put_item(TableName="FILLED", Item={"id": {"S": "a"}})
    setup = set_up(clients, "filled", TableSettings("FILLED"))
    register(clients, setup.names, setup.source.key)
    lake = setup.names.lake
    bucket, raw = f"s3://{lake.bucket}", (f"s3://{lake.bucket}", "dynamodb/json/FILLED")

    assert run("dynalake_backfill", table="FILLED", environment="filled", segments=1)["run"] == "success"

    read, shown = sent("dynalake_backfill.commit", "dynalake_backfill.show_snapshot")
    assert named(read["inputs"]) == [(f"arn:aws:dynamodb:{lake.region}:{lake.account}", "table/FILLED")]
    assert setup.source.arn == "{}:{}".format(*named(read["inputs"])[0])
    assert named(read["outputs"]) == named(shown["inputs"]) == [raw]
    tables = [(bucket, f"dynamodb/parquet/FILLED/{of}") for of in ("changes", "items")]
    assert sorted(named(shown["outputs"])) == tables


def test_a_conversion_does_not_fail_by_what_cannot_be_sent(
    clients: Clients, run: Run, sent: Sent, monkeypatch: pytest.MonkeyPatch, logs: Callable[[], str]
) -> None:
    put(add_table(clients, make_lake(clients, "unsent"), "RECEIPTS"), "1", "a")

    def fail(*_: Any) -> Any:
        raise LookupError("no such table")

    monkeypatch.setattr("dynalake.operators.task.lineage._schema", fail)

    assert run("dynalake_convert", environment="unsent")["run"] == "success"
    assert sent("dynalake_convert.convert") == []
    assert "What the task reads and writes could not be sent to OpenLineage" in logs()
