"""The life of two tables, from setup to teardown, through Airflow and under enforced IAM.

Airflow works as a user who may only assume the DAGs' role, which its connection names; CloudFormation, the
forwarder and Firehose each act in a role of their own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from dynalake.aws.clients import Clients
from dynalake.capture.failed.failed import list_failed
from dynalake.capture.lake.registry import find_settings, load_lake
from dynalake.capture.stacks.stacks import stack_state
from dynalake.days import SNAPSHOT_DAY
from dynalake.errors import NotReadyError
from dynalake.lake.catalog.table import Table
from dynalake.lake.hive.hive import list_partitions
from dynalake.names import TableNames
from infra.local.run.process import LocalAws
from tests.support.aws.capture_steps import REST, break_changes, make_table, patiently, wait_for_changes
from tests.support.aws.iam_run import PREFIX, clients_with, deploy_roles, roles_of, roles_stack

ENVIRONMENT = "iam-air"
CONNECTION = "aws_secured"
TABLES = {"LIFE-kinesis": "kinesis", "LIFE.direct": "direct"}
ITEMS = 20
"""Items of each table before its setup, and as many after it."""


@dataclass(frozen=True)
class Life:
    """A local AWS that enforces IAM, its administrator, and the parameters of each run."""

    aws: LocalAws
    root: Clients
    where: dict[str, str]
    roles: dict[str, str]

    def names(self, table: str) -> TableNames:
        return load_lake(self.root, ENVIRONMENT).table(table)


@pytest.fixture(scope="module")
def life(airflow: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    with LocalAws(tmp_path_factory.mktemp("iam") / "server.log", auth=True) as aws:
        root = clients_with(aws, aws.key, aws.key)
        iam: Any = root._make("iam")
        user = iam.create_user(UserName="airflow")["User"]["Arn"]
        key = iam.create_access_key(UserName="airflow")["AccessKey"]
        outputs = deploy_roles(root, ENVIRONMENT, user)
        allowed = {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": outputs["DagRoleArn"]}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
        iam.put_user_policy(UserName="airflow", PolicyName="dags", PolicyDocument=policy)
        extra = {
            "role_arn": outputs["DagRoleArn"],
            "region_name": "us-east-1",
            "endpoint_url": aws.endpoint_url,
            "service_config": {"sts": {"endpoint_url": aws.endpoint_url}},
        }
        connection = {"connection_id": CONNECTION, "conn_type": "aws", "extra": json.dumps(extra)}
        credentials = {"login": key["AccessKeyId"], "password": key["SecretAccessKey"]}
        airflow.client.call("POST", "/connections", {**connection, **credentials})
        options = {
            "prefix": PREFIX,
            "deploy_role_arn": outputs["DeployRoleArn"],
            "permissions_boundary_arn": outputs["PermissionsBoundaryArn"],
        }
        for table in TABLES:
            make_table(root, table, view_type=None)
            write(root, table, 0)
        where = {"environment": ENVIRONMENT}
        runs = {
            table: airflow.start(
                "dynalake_setup",
                table=table,
                delivery=delivery,
                enable_stream=True,
                backfill="scan",
                max_retries=0,
                **where,
                **options,
            )
            for table, delivery in TABLES.items()
        }
        for run in runs.values():
            assert airflow.wait("dynalake_setup", run) == "success", airflow.failures("dynalake_setup", run)
        for run in runs.values():
            hand_off = airflow.client.result("dynalake_setup", run, "record_hand_off")
            backfill = f"{run}__backfill__{hand_off}"
            assert airflow.wait("dynalake_backfill", backfill) == "success", airflow.failures(
                "dynalake_backfill", backfill
            )
        lake = load_lake(root, ENVIRONMENT)
        roles = {
            **roles_of(root, roles_stack(ENVIRONMENT)),
            **roles_of(root, lake.storage_stack),
            **roles_of(root, lake.forwarder_stack),
        }
        yield Life(aws, root, where, roles)
        airflow.client.call("DELETE", f"/connections/{CONNECTION}")


def write(root: Clients, table: str, start: int) -> None:
    for number in range(start, start + ITEMS):
        root.dynamodb.put_item(TableName=table, Item={"id": {"S": str(number)}, "n": {"N": "1.50"}})


def failed(life: Life, names: TableNames, count: int) -> Callable[[], None]:
    def look() -> None:
        if len(list_failed(Table(life.root, names))) < count:
            raise NotReadyError("less has failed yet")

    return look


def test_two_tables_are_set_up_at_once_filled_converted_and_compacted(life: Life, airflow: Any) -> None:
    days = {SNAPSHOT_DAY, life.names("LIFE-kinesis").lake.day_of(datetime.now(UTC))}
    for table in TABLES:
        write(life.root, table, ITEMS)
        # All of the snapshot's records have the same sequence number.
        assert len(wait_for_changes(life.root, life.names(table), ITEMS + 1)) == 2 * ITEMS
    days.add(life.names("LIFE-kinesis").lake.day_of(datetime.now(UTC)))
    run = airflow.run("dynalake_convert_iam-air", tables=list(TABLES), **life.where)
    assert airflow.client.result("dynalake_convert_iam-air", run, "report")["rows"] == len(TABLES) * ITEMS
    airflow.run("dynalake_compact_iam-air", tables=list(TABLES), days=sorted(days), **life.where)
    for name in TABLES:
        lake = Table(life.root, life.names(name))
        assert sum(file.rows for file in lake.changes().files()) == 2 * ITEMS
        assert set(list_partitions(lake, lake.names.parquet_table)) <= days


def test_a_missing_permission_is_reported_after_one_more_try(life: Life, airflow: Any) -> None:
    """In a lake with a connection whose user may do nothing: neither assume the role, nor read its location."""
    iam: Any = life.root._make("iam")
    iam.create_user(UserName="stranger")
    key = iam.create_access_key(UserName="stranger")["AccessKey"]
    extra = {"region_name": "us-east-1", "endpoint_url": life.aws.endpoint_url}
    connection = {"connection_id": "aws_stranger", "conn_type": "aws", "extra": json.dumps(extra)}
    credentials = {"login": key["AccessKeyId"], "password": key["SecretAccessKey"]}
    airflow.client.call("POST", "/connections", {**connection, **credentials})
    try:
        run = airflow.start("dynalake_setup", table="LIFE-kinesis", environment="stranger")
        assert airflow.wait("dynalake_setup", run) == "failed"
        ((task, log),) = airflow.failures("dynalake_setup", run).items()
    finally:
        airflow.client.call("DELETE", "/connections/aws_stranger")
    assert task == "check_source"
    assert "AccessError: AWS refuses ssm:GetParameter on arn:aws:ssm:" in log
    assert "to user stranger" in log
    assert "What to do: allow ssm:GetParameter on arn:aws:ssm:" in log
    assert [i["try_number"] for i in airflow.client.tasks("dynalake_setup", run) if i["task_id"] == task] == [2]


def test_redrive_lists_and_replays_and_reports_what_cannot_pass(life: Life, airflow: Any) -> None:
    names = life.names("LIFE-kinesis")
    conf = {"table": names.table, **life.where}
    fault = {"service": "lambda", "operation": "Invoke", "code": "Runtime.ExitError", "times": 1}
    life.aws.call("POST", "/_dynalake/faults", {**fault, "resource": names.lake.forwarder})
    life.root.dynamodb.put_item(TableName=names.table, Item={"id": {"S": "dies"}})
    patiently(failed(life, names, 1))
    break_changes(life.aws, names.table)
    life.root.dynamodb.put_item(TableName=names.table, Item={"id": {"S": "broken"}})
    patiently(failed(life, names, 2))

    listed = airflow.run("dynalake_redrive", **conf, dry_run=True)
    assert airflow.states("dynalake_redrive", listed)["replay"] == "skipped"
    log = airflow.client.log("dynalake_redrive", listed, "list_failed", 1)
    assert "forwarder | The record has no NewImage" in log
    assert "mapping | RetryAttemptsExhausted" in log

    chosen = airflow.run("dynalake_redrive", **conf, batches=[names.lake.failed_batches])
    assert airflow.client.result("dynalake_redrive", chosen, "report")["done"] == 1
    assert "dies" in {change["id"] for change in wait_for_changes(life.root, names, ITEMS + 2)}
    run = airflow.start("dynalake_redrive", **conf)
    assert airflow.wait("dynalake_redrive", run) == "failed"
    failures = airflow.failures("dynalake_redrive", run)
    assert list(failures) == ["report"]
    assert "1 batches of table 'LIFE-kinesis' cannot pass" in failures["report"]
    assert len(list_failed(Table(life.root, names))) == 1


def test_teardown_deletes_the_data_only_if_that_is_typed_out(life: Life, airflow: Any) -> None:
    kept, deleted = (life.names(table) for table in TABLES)
    wrong = airflow.start("dynalake_teardown", table=kept.table, delete_data="yes", **life.where)
    assert airflow.wait("dynalake_teardown", wrong) == "failed"
    assert list(airflow.failures("dynalake_teardown", wrong)) == ["check"]
    assert find_settings(Table(life.root, kept)) is not None

    # Minutes are seconds on local AWS, but not in the DAGs.
    rest = {"rest_seconds": int(REST.total_seconds())}
    keeping = airflow.start("dynalake_teardown", table=kept.table, **rest, **life.where)
    deleting = airflow.start("dynalake_teardown", table=deleted.table, delete_data=deleted.table, **rest, **life.where)
    for run in (keeping, deleting):
        assert airflow.wait("dynalake_teardown", run) == "success", airflow.failures("dynalake_teardown", run)
    skipped = {task for task, state in airflow.states("dynalake_teardown", keeping).items() if state == "skipped"}
    assert skipped == {"data.delete_catalog", "data.delete_objects"}
    assert set(airflow.states("dynalake_teardown", deleting).values()) == {"success"}
    for names in (kept, deleted):
        assert not stack_state(life.root, names.stack).exists
    assert len(wait_for_changes(life.root, kept, ITEMS + 2)) == 2 * ITEMS + 1
    listed = life.root.s3.list_objects_v2(Bucket=deleted.lake.bucket).get("Contents", [])
    assert [entry["Key"] for entry in listed if deleted.table in entry["Key"]] == []


def test_every_part_acted_in_its_own_role_and_nothing_was_denied(life: Life) -> None:
    actions = life.aws.call("GET", "/_dynalake/actions")
    for role, action in (
        ("DagRole", "glue:UpdateTable"),
        ("DagRole", "s3:DeleteObjectVersion"),
        ("Role", "kinesis:PutRecords"),
        ("Role", "firehose:PutRecordBatch"),
        ("FirehoseRole", "kinesis:GetRecords"),
        ("FirehoseRole", "s3:PutObject"),
    ):
        assert any(entry["role"] == life.roles[role] and entry["action"] == action for entry in actions), (role, action)
    assert [entry for entry in actions if entry["decision"] != "Allow"] == []
