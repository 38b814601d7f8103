"""Stacks on local AWS: planned without a trace, recovered after failures, and deployed by several runs at once."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from dynalake.aws.clients import Clients
from dynalake.capture.lake.bucket import creates_bucket
from dynalake.capture.lake.registry import plan_lake
from dynalake.capture.source.source import check_source
from dynalake.capture.stacks.change_sets import Deployed, StackSpec, create_change_set
from dynalake.capture.stacks.package import build_package, planned_code, upload_package
from dynalake.capture.stacks.specs import (
    declared_parameters,
    forwarder_spec,
    planned_forwarder,
    planned_storage,
    storage_spec,
    table_spec,
)
from dynalake.capture.stacks.stacks import apply_stack, begin_stack, plan_stack, stack_outputs, stack_state
from dynalake.errors import SettingsError, StackError
from dynalake.options.settings import TableSettings
from infra.local.run.process import LocalAws
from tests.support.aws.capture_steps import make_table, set_up, wait_for_changes

TEMPLATE = """\
Parameters:
  Size:
    Type: String
    Default: small
  Name:
    Type: String
Resources:
  Parameter:
    Type: AWS::SSM::Parameter
    Properties:
      Name: !Ref Name
      Type: String
      Value: !Ref Size
Outputs:
  Name:
    Value: !Ref Parameter
"""


def spec(name: str, **parameters: str) -> StackSpec:
    values = {"Name": f"/stacks/{name}", **parameters}
    return StackSpec(name, TEMPLATE, values, declared_parameters(TEMPLATE), {"dynalake:environment": "test"})


def value(clients: Clients, name: str) -> str:
    return clients.ssm.get_parameter(Name=f"/stacks/{name}")["Parameter"]["Value"]


def test_a_plan_of_a_new_lake_shows_everything_and_leaves_nothing(clients: Clients) -> None:
    make_table(clients, "PLANNED")
    lake = plan_lake(clients, "planned")
    source = check_source(clients, "PLANNED")
    storage, forwarder = planned_storage(lake, "aws"), planned_forwarder(lake, "aws")
    specs = [
        storage_spec(lake, create_bucket=creates_bucket(clients, lake)),
        forwarder_spec(lake, storage, planned_code(clients, lake, build_package(lake))),
        table_spec(lake.table("PLANNED"), TableSettings("PLANNED"), source, storage, forwarder),
    ]
    plans = [plan_stack(clients, stack_spec) for stack_spec in specs]
    assert all(plan.creates for plan in plans)
    added = {change.logical_id for plan in plans for change in plan.changes if change.action == "Add"}
    assert {"Bucket", "Database", "Function", "Role", "Stream", "DeliveryStream", "Mapping", "Settings"} <= added
    assert [stack_state(clients, stack_spec.name).exists for stack_spec in specs] == [False] * 3
    assert [stack_state(clients, stack_spec.name).status for stack_spec in specs] == [""] * 3
    with pytest.raises(ClientError):
        clients.s3.head_bucket(Bucket=lake.bucket)


def test_a_plan_of_a_change_shows_the_change_and_keeps_the_stack(clients: Clients) -> None:
    apply_stack(clients, spec("plan-change"))
    plan = plan_stack(clients, spec("plan-change", Size="large"))
    assert not plan.creates
    assert [(change.action, change.logical_id) for change in plan.changes] == [("Modify", "Parameter")]
    assert value(clients, "plan-change") == "small"
    assert plan_stack(clients, spec("plan-change")).changes == ()
    change_sets = clients.cloudformation.list_change_sets(StackName="plan-change")["Summaries"]
    assert not [c for c in change_sets if c["Status"] != "CREATE_COMPLETE" or "-plan-" in c["ChangeSetName"]]


def test_a_stack_is_created_updated_and_then_left_alone(clients: Clients) -> None:
    assert apply_stack(clients, spec("lifecycle")) == {"Name": "/stacks/lifecycle"}
    assert apply_stack(clients, spec("lifecycle", Size="large")) == {"Name": "/stacks/lifecycle"}
    assert value(clients, "lifecycle") == "large"
    assert not begin_stack(clients, spec("lifecycle", Size="large"))
    assert stack_outputs(clients, "lifecycle") == {"Name": "/stacks/lifecycle"}
    assert stack_outputs(clients, "lifecycle-not") is None


def test_an_omitted_parameter_keeps_its_value(clients: Clients) -> None:
    apply_stack(clients, spec("kept", Size="large"))
    apply_stack(clients, replace(spec("kept"), tags={"dynalake:environment": "other"}))
    assert value(clients, "kept") == "large"


def test_tags_set_by_others_are_kept(clients: Clients) -> None:
    apply_stack(clients, replace(spec("tagged"), tags={"team": "data", "dynalake:environment": "old"}))
    apply_stack(clients, spec("tagged", Size="large"))
    assert stack_state(clients, "tagged").tags == {"team": "data", "dynalake:environment": "test"}


def test_the_change_set_of_a_killed_run_is_used(clients: Clients) -> None:
    assert create_change_set(clients, spec("killed"), None, purpose="apply")
    assert stack_state(clients, "killed").status == "REVIEW_IN_PROGRESS"
    assert apply_stack(clients, spec("killed")) == {"Name": "/stacks/killed"}
    # One that was made for an older state of the stack is not.
    state = stack_state(clients, "killed")
    deployed = Deployed(state.version, state.parameters)
    assert create_change_set(clients, spec("killed", Size="large"), deployed, purpose="apply")
    for size in ("middle", "large", "middle", "large"):
        apply_stack(clients, spec("killed", Size=size))
        assert value(clients, "killed") == size


def test_several_runs_can_deploy_one_stack_at_once(clients: Clients) -> None:
    with ThreadPoolExecutor(8) as pool:
        outputs = list(pool.map(lambda _: apply_stack(clients, spec("at-once"), seconds=60), range(8)))
    assert outputs == [{"Name": "/stacks/at-once"}] * 8
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: apply_stack(clients, spec("at-once", Size="large"), seconds=60), range(8)))
    assert value(clients, "at-once") == "large"


def test_several_tables_can_be_set_up_at_once_in_a_new_lake(clients: Clients) -> None:
    tables = [f"TOGETHER-{number}" for number in range(4)]
    for table in tables:
        make_table(clients, table)
    with ThreadPoolExecutor(len(tables)) as pool:
        setups = list(pool.map(lambda table: set_up(clients, "together", TableSettings(table)), tables))
    for setup in setups:
        clients.dynamodb.put_item(TableName=setup.names.table, Item={"id": {"S": setup.names.table}})
    for setup in setups:
        assert [change["id"] for change in wait_for_changes(clients, setup.names, 1)] == [setup.names.table]


def test_a_failed_deployment_names_the_resource_and_is_recovered_from(clients: Clients) -> None:
    make_table(clients, "COLLIDES")
    settings = TableSettings("COLLIDES")
    parameter = "/dynalake/failing/tables/COLLIDES"
    clients.ssm.put_parameter(Name=parameter, Type="String", Value=settings.to_json())
    with pytest.raises(StackError, match=r"because Settings \(AWS::SSM::Parameter\) failed: .*AlreadyExists") as caught:
        set_up(clients, "failing", settings)
    assert caught.value.ids["resource"] == "Settings"
    assert stack_state(clients, "dynalake-failing-table-COLLIDES").status == "ROLLBACK_COMPLETE"
    clients.ssm.delete_parameter(Name=parameter)
    names = set_up(clients, "failing", settings).names
    assert stack_state(clients, names.stack).status == "UPDATE_COMPLETE", "created, and enabled after the proof"


def test_a_failed_update_is_rolled_back_and_explained(clients: Clients) -> None:
    apply_stack(clients, spec("failed-update"))
    clients.ssm.put_parameter(Name="/stacks/taken", Type="String", Value="somebody's")
    with pytest.raises(StackError, match=r"UPDATE_ROLLBACK_COMPLETE, because Parameter .*AlreadyExists"):
        apply_stack(clients, spec("failed-update", Name="/stacks/taken"))
    assert value(clients, "failed-update") == "small"
    # The old values can be requested: there is nothing to change.
    assert apply_stack(clients, spec("failed-update")) == {"Name": "/stacks/failed-update"}
    # The next valid deployment works.
    apply_stack(clients, spec("failed-update", Size="large"))
    assert value(clients, "failed-update") == "large"


def test_an_existing_bucket_is_used_and_kept(clients: Clients) -> None:
    clients.s3.create_bucket(Bucket="brought-by-the-user")
    make_table(clients, "BROUGHT")
    lake = plan_lake(clients, "brought", "brought-by-the-user")
    assert not creates_bucket(clients, lake)
    apply_stack(clients, storage_spec(lake, create_bucket=False))
    assert not creates_bucket(clients, lake)
    names = set_up(clients, "brought", TableSettings("BROUGHT")).names
    assert names.lake.bucket == "brought-by-the-user"
    clients.dynamodb.put_item(TableName="BROUGHT", Item={"id": {"S": "a"}})
    assert len(wait_for_changes(clients, names, 1)) == 1


def test_a_bucket_of_another_account_or_region_is_refused(local_aws: LocalAws) -> None:
    """Bucket names are global: a stranger who knows the lake's could have created the bucket first, open to everyone.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-owner-condition.html
    """
    session = boto3.Session(local_aws.key, local_aws.key, region_name="us-east-1")
    clients = Clients.of(session, endpoint_url=lambda service: local_aws.endpoint_url)
    squatted = plan_lake(clients, "squatted")
    eve: Any = boto3.Session("999999999999", local_aws.key, local_aws.key, region_name="us-east-1")
    foreign_s3 = eve.client("s3", endpoint_url=local_aws.endpoint_url)
    foreign_s3.create_bucket(Bucket=squatted.bucket)
    resources = [f"arn:aws:s3:::{squatted.bucket}", f"arn:aws:s3:::{squatted.bucket}/*"]
    principal = {"AWS": f"arn:aws:iam::{squatted.account}:root"}
    allow = {"Effect": "Allow", "Principal": principal, "Action": "s3:*", "Resource": resources}
    foreign_s3.put_bucket_policy(
        Bucket=squatted.bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    )
    with pytest.raises(SettingsError, match=r"to another account.*a bucket of account 000000000000"):
        creates_bucket(clients, squatted)
    with pytest.raises(ClientError, match="403"):
        upload_package(clients, squatted, build_package(squatted))

    elsewhere: Any = boto3.Session(local_aws.key, local_aws.key, region_name="eu-west-1")
    elsewhere.client("s3", endpoint_url=local_aws.endpoint_url).create_bucket(
        Bucket="elsewhere", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    with pytest.raises(SettingsError, match="'elsewhere' is in region eu-west-1, but the lake is in us-east-1"):
        creates_bucket(clients, plan_lake(clients, "elsewhere", "elsewhere"))


def test_a_bucket_outlives_its_stack_and_is_used_by_the_next(clients: Clients) -> None:
    lake = plan_lake(clients, "outlives")
    assert creates_bucket(clients, lake)
    apply_stack(clients, storage_spec(lake, create_bucket=True))
    assert creates_bucket(clients, lake)
    clients.s3.put_object(Bucket=lake.bucket, Key="dynamodb/json/T/dt=20190525/x.gz", Body=b"x")
    clients.cloudformation.delete_stack(StackName=lake.storage_stack)
    assert not creates_bucket(clients, lake)
    apply_stack(clients, storage_spec(lake, create_bucket=False))
    assert clients.s3.head_object(Bucket=lake.bucket, Key="dynamodb/json/T/dt=20190525/x.gz")
