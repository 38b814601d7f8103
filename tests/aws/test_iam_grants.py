"""The whole pipeline under enforced IAM: every role can do its part, and was granted nothing that it does not use."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from cfnlint.schema import PROVIDER_SCHEMA_MANAGER

from dynalake.capture.change_sets import Deployed, create_change_set, delete_change_set
from dynalake.capture.redrive import plan_redrive
from dynalake.capture.replay import replay_chunk
from dynalake.capture.source import check_source
from dynalake.capture.specs import storage_spec, table_spec
from dynalake.capture.stacks import apply_stack, plan_stack, stack_state
from dynalake.capture.stored import delete_objects
from dynalake.capture.teardown import delete_catalog, delete_stack, send_last_canaries, stop_mapping
from dynalake.capture.verify import find_canary
from dynalake.errors import NotReadyError, SourceError, StackError
from dynalake.lake_options import LakeOptions
from dynalake.names import TableNames
from dynalake.settings import TableSettings
from infra.local.process import LocalAws
from tests.aws.capture_steps import break_changes, make_table, patiently, prove, rejected, wait_for_changes
from tests.aws.iam_run import (
    ACCOUNT,
    Secured,
    back_fill,
    policies_of,
    read_as_redshift,
    redshift_role,
    roles_of,
    secure,
    set_up_secured,
    watch,
    work_at,
)

TEMPLATES = Path("infra/cloudformation")

READS_BACK = "the resource's schema: CloudFormation reads back what it made"
NEW_VERSION = "an update of dynalake may change it in the template"
# What local AWS cannot show, because it does the same in another way; each with where AWS says that it is needed.
NOT_SHOWN = {
    "DeployRole": {
        "cloudwatch:ListTagsForResource": READS_BACK,
        "firehose:ListTagsForDeliveryStream": READS_BACK,
        "iam:GetRolePolicy": READS_BACK,
        "kinesis:ListTagsForResource": READS_BACK,
        "kinesis:ListTagsForStream": READS_BACK,
        "logs:ListTagsForResource": READS_BACK,
        "kinesis:TagResource": "the resource's schema: tags that change",
        "glue:UpdateDatabase": NEW_VERSION,
        "iam:UpdateAssumeRolePolicy": NEW_VERSION,
        "iam:UpdateRoleDescription": NEW_VERSION,
        "firehose:StartDeliveryStreamEncryption": "a lake that gets its key later",
        "sns:GetDataProtectionPolicy": "the topic's schema: it changes in a lake that gets its key later",
        "sns:ListSubscriptionsByTopic": "the topic's schema, likewise",
        "sns:ListTagsForResource": "the topic's schema, likewise",
        "kms:GenerateDataKey": "the schemas of the function and the mapping: what Lambda encrypts",
        "s3:GetObjectVersion": "the function's schema: its code is in a bucket that keeps versions",
    },
    "Role": {},
    "FirehoseRole": {
        "s3:AbortMultipartUpload": "Firehose's own list: controlling-access.html#using-iam-s3",
        "s3:GetBucketLocation": "Firehose's own list",
        "s3:GetObject": "Firehose's own list",
        "s3:ListBucket": "Firehose's own list",
        "s3:ListBucketMultipartUploads": "Firehose's own list",
        "logs:PutLogEvents": "Firehose writes its log when a delivery fails; the local one has no log",
    },
    "SpectrumRole": {},
    "DagRole": {
        "s3:AbortMultipartUpload": "boto3 gives up an upload in parts with it, of a file over 8 MB",
        "glue:CreateTableOptimizer": "local Glue has no optimizers: switches off one that the catalog has switched on",
        "glue:UpdateTableOptimizer": "likewise, one of the table's own",
    },
}
ROLES = ("DagRole", "DeployRole", "Role", "FirehoseRole", "SpectrumRole")
# Every statement whose resource is "*" alone, by its Sid, and why it cannot be less.
WILDCARDS = {
    "ListTableStreams": "dynamodb:ListStreams has no resource",
    "ListTables": "dynamodb:ListTables has no resource",
    "Metrics": "cloudwatch:GetMetricData has no resource",
    "Mappings": "a mapping has no name before it is there; its function is a condition",
    "NoResource": "the boundary's actions without a resource",
    "Subscription": "sns:GetSubscriptionAttributes and sns:Unsubscribe have no resource",
    "Tracing": "X-Ray's actions have no resource",
}


@pytest.fixture(scope="module")
def enforced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    """A local AWS of its own, which enforces IAM."""
    with LocalAws(tmp_path_factory.mktemp("iam") / "server.log", auth=True) as aws:
        yield aws


@pytest.fixture(scope="module")
def ran(enforced: LocalAws) -> Secured:
    """A lake in which everything was done once: nothing of it may have been denied."""
    here = secure(enforced, "iam-run")
    fail_at_first(here)
    run(here)
    here.roles = {
        **here.roles,
        **roles_of(here.root, here.lake.storage_stack),
        **roles_of(here.root, here.lake.forwarder_stack),
    }
    here.policies = {name: policies_of(here.root, role) for name, role in here.roles.items()}
    iam: Any = here.root._make("iam")
    here.boundaries = {
        name: iam.get_role(RoleName=here.roles[name])["Role"]["PermissionsBoundary"]["PermissionsBoundaryArn"]
        for name in ("Role", "FirehoseRole")
    }
    give_up_the_lake(here)
    return here


def fail_at_first(here: Secured) -> None:
    """A first deployment that does not come to its end is taken back, bucket and all."""
    wanted = storage_spec(here.lake, create_bucket=True, options=here.options)
    assert plan_stack(here.dag, wanted).creates
    here.root.ssm.put_parameter(Name=here.lake.lake_parameter, Type="String", Value="somebody's")
    with pytest.raises(StackError, match="AlreadyExists"):
        apply_stack(here.dag, wanted)
    with pytest.raises(ClientError):
        here.root.s3.head_bucket(Bucket=here.lake.bucket)
    here.root.ssm.delete_parameter(Name=here.lake.lake_parameter)


def change_everything(here: Secured, settings: TableSettings) -> None:
    """Each kind of resource is changed in place, there and back."""
    here.root.s3.create_bucket(Bucket="access-logs")
    more = {"access_log_bucket": "access-logs", "alarm_email": "ops@example.com", "query_bytes_limit": 10_000_000}
    less: dict[str, Any] = {"access_log_bucket": "", "alarm_email": "", "query_bytes_limit": 0}
    grown = replace(settings, shards=2, stream_retention_hours=48, buffer_seconds=30, batch_size=500)
    other = {**more, "memory_mb": 256, "reserved_concurrency": 5, "forwarder_log_retention_days": 7}
    set_up_secured(replace(here, given={**here.given, **other}), grown, update=True)
    back = {**less, "memory_mb": 512, "reserved_concurrency": -1, "forwarder_log_retention_days": 30}
    set_up_secured(replace(here, given={**here.given, **back}), settings, update=True)


def give_up_the_lake(here: Secured) -> None:
    """What no DAG does: an administrator deletes the lake's own stacks, and CloudFormation does it in its role."""
    for stack in (here.lake.forwarder_stack, here.lake.storage_stack):
        here.root.cloudformation.delete_stack(StackName=stack, RoleARN=here.given["deploy_role_arn"])
        waiter = here.root.cloudformation.get_waiter("stack_delete_complete")
        waiter.wait(StackName=stack, WaiterConfig={"Delay": 1})


def run(here: Secured) -> None:
    """Setup, canary, changes, watch, backfill, compaction, redrive and teardown, of both deliveries."""
    root, dag = here.root, here.dag
    with pytest.raises(SourceError, match="no DynamoDB table 'SECURE'"):
        check_source(dag, "SECURE")
    for delivery in ("kinesis", "direct"):
        table = f"SECURED-{delivery}"
        make_table(root, table, view_type=None)
        settings = TableSettings(table, delivery=delivery, max_record_kb=5, max_retries=0)
        names = set_up_secured(here, settings)
        if delivery == "kinesis":
            change_everything(here, settings)
        killed_and_failed(here, names)
        prove(dag, names, f"canary-{delivery}")
        write(here, table, 30)
        assert len(wait_for_changes(root, names, 30)) == 30
        assert watch(dag, names, datetime.now(UTC)).readings.comparison.equal == 20
        back_fill(dag, names, "run")
        assert work_at(dag, names, datetime.now(UTC) + timedelta(days=2)) == 60
        if here.spectrum is None:
            here.spectrum = redshift_role(here)
        # The raw objects have a change that arrived twice as often as it did.
        assert read_as_redshift(here.spectrum, names)[0] == 60
        # A type that becomes wider, and files that nothing names any more and that go in their time.
        root.dynamodb.put_item(TableName=table, Item={"id": {"S": "1"}, "n": {"S": "wide"}})
        # The snapshot's records have one sequence number for all.
        wait_for_changes(root, names, 32)
        assert work_at(dag, names, datetime.now(UTC) + timedelta(days=2)) == 61
        fail_and_redrive(here, names)
        work_at(dag, names, datetime.now(UTC) + timedelta(days=10))
        tear_down(dag, names, delete_data=delivery == "direct")


def killed_and_failed(here: Secured, names: TableNames) -> None:
    """A deployment that a killed run has begun, and one that fails."""
    other = LakeOptions.parse({"noncurrent_days": 31 if "kinesis" in names.table else 32})
    spec = storage_spec(here.lake, create_bucket=True, options=other)
    deployed = stack_state(here.dag, spec.name)
    begun = create_change_set(here.dag, spec, Deployed(deployed.version, deployed.parameters), purpose="killed")
    again = create_change_set(here.dag, spec, Deployed(deployed.version, deployed.parameters), purpose="killed")
    assert begun is not None
    assert begun == again
    delete_change_set(here.dag, spec.name, begun)
    source = check_source(here.dag, names.table)
    gone = replace(source, stream_arn=source.stream_arn[:-3] + "000")
    storage, forwarder = (stack_state(here.dag, name).outputs for name in (spec.name, here.lake.forwarder_stack))
    wanted = table_spec(here.lake.table("FAILS"), TableSettings("FAILS"), gone, storage, forwarder)
    with pytest.raises(StackError, match="Stream not found"):
        apply_stack(here.dag, wanted)


def write(here: Secured, table: str, count: int) -> None:
    for number in range(count):
        here.root.dynamodb.put_item(TableName=table, Item={"id": {"S": str(number)}, "n": {"N": "1"}})


def fail_and_redrive(here: Secured, names: TableNames) -> None:
    """A change too long for a record, a malformed one, one whose function dies; the redrive brings back the last."""
    fault = {"service": "lambda", "operation": "Invoke", "code": "Runtime.ExitError", "times": 1}
    here.root.dynamodb.put_item(TableName=names.table, Item={"id": {"S": "large"}, "x": {"S": "x" * 9000}})
    assert "large" in {change["id"] for change in wait_for_changes(here.root, names, 33)}
    break_changes(here.aws, names.table)
    here.root.dynamodb.put_item(TableName=names.table, Item={"id": {"S": "broken"}})
    patiently(lambda: rejected(here.root, names))
    here.aws.call("POST", "/_dynalake/faults", {**fault, "resource": names.lake.forwarder})
    here.root.dynamodb.put_item(TableName=names.table, Item={"id": {"S": "dies"}})
    patiently_listed(here, names.lake.failed_batches)
    plan = plan_redrive(here.dag, names)
    assert plan.changes == 2
    for chunk in plan.chunks:
        replay_chunk(here.dag, names, "run", chunk)
    assert "dies" in {change["id"] for change in wait_for_changes(here.root, names, 34)}


def patiently_listed(here: Secured, prefix: str) -> None:
    def look() -> None:
        if not here.root.s3.list_objects_v2(Bucket=here.lake.bucket, Prefix=prefix).get("KeyCount"):
            raise NotReadyError(f"Nothing lies under {prefix}")

    patiently(look)


def tear_down(dag: Any, names: TableNames, *, delete_data: bool) -> None:
    stop_mapping(dag, names)
    for canary in send_last_canaries(dag, names, "teardown"):
        patiently(lambda canary=canary: find_canary(dag, names, canary))  # type: ignore[misc]
    delete_stack(dag, names)
    if delete_data:
        delete_catalog(dag, names)
        delete_objects(dag, names)


def used(here: Secured, role: str) -> list[dict[str, Any]]:
    return [one for one in here.aws.call("GET", "/_dynalake/actions") if one["role"] == here.roles[role]]


def test_nothing_that_a_role_did_was_denied(ran: Secured) -> None:
    denied = [one for role in ROLES for one in used(ran, role) if one["decision"] != "Allow"]
    assert denied == []


@pytest.mark.parametrize("role", ROLES)
def test_a_role_was_granted_nothing_that_it_did_not_use(ran: Secured, role: str) -> None:
    done = used(ran, role)
    unused = []
    for statement in ran.policies[role]:
        for action in statement["Action"]:
            shown = any(
                one["action"].lower() == action.lower()
                and any(fnmatchcase(one["resource"], r) for r in statement["Resource"])
                for one in done
            )
            if not shown and action not in NOT_SHOWN[role]:
                unused.append((statement["Sid"], action))
    assert unused == []


@pytest.mark.parametrize("role", ROLES)
def test_what_local_aws_cannot_show_is_granted_and_not_shown(ran: Secured, role: str) -> None:
    granted = {action for statement in ran.policies[role] for action in statement["Action"]}
    assert set(NOT_SHOWN[role]) <= granted


@pytest.mark.parametrize("role", ROLES)
def test_a_wildcard_has_a_stated_reason(ran: Secured, role: str) -> None:
    for statement in ran.policies[role]:
        assert not [action for action in statement["Action"] if "*" in action]
        if "*" in statement["Resource"]:
            assert statement["Sid"] in WILDCARDS
            # The template says why, too, in the comment above the statement.
            texts = [path.read_text(encoding="utf-8") for path in sorted(TEMPLATES.glob("*.yaml"))]
            assert any(
                re.search(rf"# [^\n]+\n(?: +- !If\n +- \w+\n)? +- Sid: {statement['Sid']}\n", text) for text in texts
            )


def test_cloudformation_was_granted_only_what_its_resources_need(ran: Secured) -> None:
    """What local AWS asks for is chosen by hand, so the grants are held against the resources' own schemas, too."""
    types = {
        found
        for name in ("storage", "forwarder", "table")
        for found in re.findall(r"^    Type: (AWS::\S+)$", (TEMPLATES / f"{name}.yaml").read_text(), re.MULTILINE)
    }
    needed: set[str] = set()
    for found in types:
        schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", found).schema
        for handler, about in schema["handlers"].items():
            if handler != "list":
                needed |= set(about["permissions"])
    # Not in the schema of the bucket policy, whose deletion it is.
    granted = {a for statement in ran.policies["DeployRole"] for a in statement["Action"]}
    assert granted - needed == set()


def test_the_dags_cannot_deploy_with_their_own_permissions(ran: Secured) -> None:
    """What CloudFormation may do, the DAGs' role may not."""
    dag: Any = ran.dag
    calls: list[Callable[[], Any]] = [
        lambda: dag.s3.create_bucket(Bucket="another"),
        lambda: dag._make("iam").create_role(RoleName="dynalake-x", AssumeRolePolicyDocument="{}"),
        lambda: dag.kinesis.delete_stream(StreamName="dynalake-iam_run-X"),
        lambda: dag.ssm.put_parameter(Name="/dynalake/iam-run/lake", Value="x", Type="String"),
        lambda: dag.s3.get_object(Bucket=ran.lake.bucket, Key="athena-results/somebody.csv"),
        lambda: dag.cloudformation.describe_stacks(StackName="dynalake-iam-storage"),
        lambda: dag.lambda_.invoke(FunctionName="dynalake-iam-forwarder"),
    ]
    for call in calls:
        with pytest.raises(ClientError, match=r"(?i)not authorized|AccessDenied|Forbidden"):
            call()


def test_redshift_reads_the_tables_and_nothing_else(ran: Secured) -> None:
    """What it reads is in the run (`read_as_redshift`); here is what it must not: other folders, and any change."""
    spectrum: Any = ran.spectrum
    bucket, database, names = ran.lake.bucket, ran.lake.database, ran.lake.table("SECURED-kinesis")
    raw = f"{names.raw_day('20190525')}1.gz"
    calls: list[Callable[[], Any]] = [
        lambda: spectrum.s3.get_object(Bucket=bucket, Key=names.state_prefix + "x.json"),
        lambda: spectrum.s3.get_object(Bucket=bucket, Key=names.rejected("forwarder") + "x.jsonl"),
        lambda: spectrum.s3.get_object(Bucket=bucket, Key="athena-results/somebody.csv"),
        lambda: spectrum.s3.put_object(Bucket=bucket, Key=raw, Body=b""),
        lambda: spectrum.s3.delete_object(Bucket=bucket, Key=raw),
        lambda: spectrum.s3.list_objects_v2(Bucket="access-logs"),
        lambda: spectrum.glue.delete_table(DatabaseName=database, Name=names.parquet_table),
        lambda: spectrum.glue.create_table(DatabaseName=database, TableInput={"Name": "x"}),
        lambda: spectrum.glue.delete_partition(
            DatabaseName=database, TableName=names.parquet_table, PartitionValues=["00000000"]
        ),
        lambda: spectrum.glue.get_tables(DatabaseName="dynalake_other"),
        lambda: spectrum.ssm.get_parameter(Name=ran.lake.lake_parameter),
        lambda: spectrum.dynamodb.scan(TableName="SECURED-kinesis"),
    ]
    for number, call in enumerate(calls):
        with pytest.raises(ClientError, match=r"(?i)not authorized|AccessDenied|Forbidden"):
            pytest.fail(f"{number}: {call()}")


def test_the_roles_are_bounded(ran: Secured) -> None:
    assert set(ran.boundaries) == {"Role", "FirehoseRole"}
    for boundary in ran.boundaries.values():
        assert boundary.startswith(f"arn:aws:iam::{ACCOUNT}:policy/")


def test_a_role_that_may_not_be_passed_fails_the_deployment(ran: Secured) -> None:
    options = LakeOptions.parse({"deploy_role_arn": f"arn:aws:iam::{ACCOUNT}:role/administrator"})
    with pytest.raises((ClientError, StackError), match="iam:PassRole"):
        apply_stack(ran.dag, storage_spec(ran.lake, create_bucket=True, options=options))
