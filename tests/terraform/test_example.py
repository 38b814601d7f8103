"""The modules' example, by real Terraform on local AWS, makes the same resources as the setup DAG."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest

from dynalake.aws.clients import Clients
from dynalake.capture.lake.registry import list_tables, load_lake
from dynalake.capture.stacks.package import Code, build_package, place_code
from dynalake.capture.stacks.stacks import stack_state
from dynalake.options.settings import TableSettings
from infra.local.run.process import LocalAws
from tests.support.aws.capture_steps import make_table, set_up, wait_for_changes
from tests.terraform.root import NO_CHANGES, Terraform

TABLES = ("RECEIPTS", "payments")
MADE = ("airflow", "storage", "forwarder", "spark", "redshift", "table-RECEIPTS", "table-payments")
STACKS = tuple(f"dynalake-prod-{name}" for name in MADE)


@pytest.fixture(scope="module")
def clients(aws: LocalAws) -> Clients:
    session: Any = boto3.Session(aws.key, aws.key, region_name="us-east-1")
    return Clients(lambda service: session.client(service, endpoint_url=aws.endpoint_url))


@pytest.fixture(scope="module")
def applied(terraform: Terraform, clients: Clients) -> Terraform:
    for table in TABLES:
        make_table(clients, table)
    (terraform.folder / "terraform.tfvars").write_text(
        'airflow_worker_role_arn = "arn:aws:iam::000000000000:role/airflow-worker"\n'
    )
    terraform.run("init")
    terraform.apply()
    return terraform


def versions(clients: Clients) -> dict[str, str]:
    return {name: stack_state(clients, name).version for name in STACKS}


def test_a_setup_only_proves_the_delivery_and_enables_the_mapping(applied: Terraform, clients: Clients) -> None:
    lake = load_lake(clients, "prod")
    assert list(list_tables(clients, lake)) == sorted(TABLES)
    # Setup's own archive has the same key as Terraform's but other bytes; the stack keeps its version.
    deployed = stack_state(clients, lake.forwarder_stack).parameters
    assert place_code(clients, lake, build_package(lake)) == Code(deployed["CodeKey"], deployed["CodeVersion"])
    assert deployed["CodeVersion"]

    # The boundary of the lake's roles does not allow the catalog, which these two read.
    for name in ("spark", "redshift"):
        assert stack_state(clients, f"dynalake-prod-{name}").parameters["PermissionsBoundaryArn"] == ""

    before = versions(clients)
    for table in TABLES:
        stack = stack_state(clients, f"dynalake-prod-table-{table}")
        assert stack.parameters["MappingEnabled"] == "false", "nothing is read before the proof"
        conf = json.loads(applied.outputs()["setup_conf"][table])
        assert conf.pop("environment") == "prod"
        setup = set_up(clients, "prod", TableSettings.parse(conf))
        clients.dynamodb.put_item(TableName=table, Item={"id": {"S": "one"}})
        assert [change["id"] for change in wait_for_changes(clients, setup.names, 1)] == ["one"]
    changed = {name for name, version in versions(clients).items() if version != before[name]}
    assert changed == {f"dynalake-prod-table-{table}" for table in TABLES}, "setup enabled the tables' mappings"
    assert applied.plan() == NO_CHANGES, "Terraform has nothing to do"


def test_a_lake_that_setup_made_is_imported(applied: Terraform, clients: Clients) -> None:
    """The other way round: Terraform forgets a stack, imports it by its name, and would change nothing."""
    address = 'module.table["payments"].aws_cloudformation_stack.this'
    applied.run("state", "rm", address)
    applied.run("import", address, "dynalake-prod-table-payments")
    # Local AWS does not return a stack's role and capabilities.
    assert applied.changed(address) == {"capabilities", "iam_role_arn"}


def test_terraform_follows_a_delivery_that_setup_changed(applied: Terraform, clients: Clients) -> None:
    override = applied.folder / "override.tf"
    override.write_text('locals {\n  tables = { RECEIPTS = {}, payments = { delivery = "kinesis" } }\n}\n')
    output = applied.refused()
    assert "payments is delivered by 'direct' now" in output
    assert 'Run dynalake_setup with delivery = "kinesis"' in output
    conf = json.loads(applied.outputs()["setup_conf"]["payments"])
    del conf["environment"]
    set_up(clients, "prod", TableSettings.parse({**conf, "delivery": "kinesis"}), update=True)
    applied.apply()
    parameters = stack_state(clients, "dynalake-prod-table-payments").parameters
    settings = [parameters[name] for name in ("Delivery", "Beside", "MappingEnabled")]
    assert settings == ["kinesis", "direct", "true"], "Terraform keeps the delivery that setup has proven"
    assert applied.plan() == NO_CHANGES


def test_destroying_keeps_the_data(applied: Terraform, clients: Clients) -> None:
    bucket = load_lake(clients, "prod").bucket
    applied.run("destroy", "-auto-approve", "-input=false")
    assert [stack_state(clients, name).exists for name in STACKS] == [False] * len(STACKS)
    objects = clients.s3.list_objects_v2(Bucket=bucket, Prefix="dynamodb/json/")["Contents"]
    assert {entry["Key"].split("/")[2] for entry in objects} == set(TABLES)
