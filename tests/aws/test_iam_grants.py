"""The whole pipeline under enforced IAM: every role can do its part, and is granted only what it uses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from dynalake.capture.failed.redrive import plan_redrive
from dynalake.capture.failed.replay import replay_chunk
from dynalake.capture.lake.bucket import creates_bucket
from dynalake.capture.source.choose import choose_tables
from dynalake.capture.source.source import check_source
from dynalake.capture.stacks.change_sets import Deployed, create_change_set, delete_change_set
from dynalake.capture.stacks.specs import storage_spec, table_spec
from dynalake.capture.stacks.stacks import apply_stack, plan_stack, stack_state
from dynalake.capture.stored import delete_objects
from dynalake.capture.teardown import delete_catalog, delete_stack
from dynalake.convert.finish import convert_due
from dynalake.errors import AccessError, NotReadyError, SourceError, StackError
from dynalake.lake.catalog.table import Table
from dynalake.lake.tables.repair import repair_entries
from dynalake.names import TableNames
from dynalake.options.lake_options import LakeOptions
from dynalake.options.settings import TableSettings
from infra.local.run.process import LocalAws
from tests.support.aws.capture_steps import (
    break_changes,
    drain,
    make_table,
    patiently,
    prove,
    rejected,
    wait_for_changes,
)
from tests.support.aws.iam_run import (
    ACCOUNT,
    Secured,
    back_fill,
    certify,
    deploy_roles,
    policies_of,
    read_as_redshift,
    redshift_role,
    roles_of,
    roles_stack,
    secure,
    set_up_secured,
    watch,
    work_at,
)
from tests.support.aws.lake import right_now
from tests.support.examples import example

TEMPLATES = Path("infra/cloudformation")

NEW_VERSION = "an update of dynalake may change it in the template"
# Actions that local AWS does not need, because it works differently; each with AWS's statement that it is needed.
NOT_SHOWN = {
    "DeployRole": {
        **dict.fromkeys(
            (
                "athena:ListTagsForResource",
                "cloudwatch:ListTagsForResource",
                "firehose:ListTagsForDeliveryStream",
                "iam:GetRolePolicy",
                "iam:ListRoleTags",
                "kinesis:ListTagsForResource",
                "kinesis:ListTagsForStream",
                "lambda:GetFunctionCodeSigningConfig",
                "lambda:GetFunctionRecursionConfig",
                "lambda:GetFunctionScalingConfig",
                "lambda:GetRuntimeManagementConfig",
                "lambda:ListTags",
                "logs:ListTagsForResource",
                "s3:GetBucketLogging",
                "s3:GetBucketOwnershipControls",
                "s3:GetBucketPublicAccessBlock",
                "s3:GetBucketTagging",
                "s3:GetBucketVersioning",
                "s3:GetEncryptionConfiguration",
                "s3:GetLifecycleConfiguration",
                "s3:GetMetricsConfiguration",
                "s3:ListTagsForResource",
                "ssm:ListTagsForResource",
            ),
            "the resource's schema: CloudFormation reads the resource back",
        ),
        "glue:GetTable": "the handlers of Lake Formation's grants on tables",
        "glue:UpdateDatabase": NEW_VERSION,
        **dict.fromkeys(
            (
                "athena:UntagResource",
                "cloudwatch:UntagResource",
                "firehose:UntagDeliveryStream",
                "lambda:UntagResource",
                "s3:UntagResource",
            ),
            "removed tags: local CloudFormation does not untag these types",
        ),
        "iam:CreateServiceLinkedRole": "the workgroup's schema",
        "iam:PutRolePermissionsBoundary": "a lake that gets its boundary later: covered by another test",
        "iam:UpdateAssumeRolePolicy": NEW_VERSION,
        "iam:UpdateRoleDescription": NEW_VERSION,
        "firehose:StartDeliveryStreamEncryption": "a lake that gets its key later",
        "logs:AssociateKmsKey": "likewise",
        "kms:GenerateDataKey": "the schemas of the function and the mapping: what Lambda encrypts",
        "lakeformation:GrantPermissions": "a lake in an account with Lake Formation, which is not secured",
        "lakeformation:ListPermissions": "likewise",
        "lakeformation:RevokePermissions": "likewise",
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
        "s3:AbortMultipartUpload": "boto3 aborts a multipart upload with it, of a file over 8 MB",
        "glue:CreateTableOptimizer": "local Glue has no optimizers: disables one that the catalog has enabled",
        "glue:UpdateTableOptimizer": "likewise, one that belongs to the table",
    },
}
ROLES = ("DagRole", "DeployRole", "Role", "FirehoseRole", "SpectrumRole")
# Every statement whose resource is only "*", by its Sid, and why it cannot be narrower.
WILDCARDS = {
    "LakeFormation": "Lake Formation's actions have no resource",
    "Readers": "lambda:ListEventSourceMappings has no resource",
    "ListTableStreams": "dynamodb:ListStreams has no resource",
    "ListTables": "dynamodb:ListTables has no resource",
    "TaggedTables": "tag:GetResources has no resource",
    "Metrics": "cloudwatch:GetMetricData has no resource",
    "Mappings": "a mapping has no name before it exists; its function is a condition",
    "NoResource": "the boundary's actions without a resource",
    "FindLogs": "logs:DescribeLogGroups has no resource",
    "Governed": "Lake Formation's actions have no resource",
    "Resharding": "kinesis:UpdateShardCount and kinesis:UpdateStreamMode have no resource",
    "StreamLimits": "kinesis:DescribeLimits has no resource",
    "Tracing": "X-Ray's actions have no resource",
}


@pytest.fixture(scope="module")
def enforced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    """A separate local AWS that enforces IAM."""
    with LocalAws(tmp_path_factory.mktemp("iam") / "server.log", auth=True) as aws:
        yield aws


@pytest.fixture(scope="module")
def full_run(enforced: LocalAws) -> Secured:
    """A lake in which every action was done once; none may have been denied."""
    secured = secure(enforced, "iam-run")
    fail_at_first(secured)
    run(secured)
    secured.roles = {
        **secured.roles,
        **roles_of(secured.root, secured.lake.storage_stack),
        **roles_of(secured.root, secured.lake.forwarder_stack),
    }
    secured.policies = {name: policies_of(secured.root, role) for name, role in secured.roles.items()}
    iam: Any = secured.root._make("iam")
    secured.boundaries = {
        name: iam.get_role(RoleName=secured.roles[name])["Role"]["PermissionsBoundary"]["PermissionsBoundaryArn"]
        for name in ("Role", "FirehoseRole")
    }
    give_up_the_lake(secured)
    return secured


def fail_at_first(secured: Secured) -> None:
    """Fail a first deployment twice; each time it is rolled back with its bucket and database."""
    spec = storage_spec(secured.lake, create_bucket=True, options=secured.options)
    assert plan_stack(secured.dag, spec).creates
    secured.root.ssm.put_parameter(Name=secured.lake.lake_parameter, Type="String", Value="somebody's")
    for _ in range(2):
        with pytest.raises(StackError, match="AlreadyExists"):
            apply_stack(secured.dag, spec)
        assert stack_state(secured.dag, spec.name).status == "ROLLBACK_COMPLETE"
        with pytest.raises(ClientError):
            secured.root.s3.head_bucket(Bucket=secured.lake.bucket)
        with pytest.raises(ClientError, match="EntityNotFound"):
            secured.root.glue.get_database(Name=secured.lake.database)
    secured.root.ssm.delete_parameter(Name=secured.lake.lake_parameter)


def change_everything(secured: Secured, settings: TableSettings) -> None:
    """Change each kind of resource in place, there and back."""
    secured.root.s3.create_bucket(Bucket="access-logs")
    changed = {"access_log_bucket": "access-logs", "alarm_email": "ops@example.com", "query_bytes_limit": 10_000_000}
    reset: dict[str, Any] = {"access_log_bucket": "", "alarm_email": "", "query_bytes_limit": 0}
    grown = replace(settings, stream_mode="on_demand", stream_retention_hours=48, buffer_seconds=30, batch_size=500)
    everything = {**changed, "memory_mb": 256, "reserved_concurrency": 5, "forwarder_log_retention_days": 7}
    set_up_secured(replace(secured, values={**secured.values, **everything}), grown, update=True)
    back = {**reset, "memory_mb": 512, "reserved_concurrency": -1, "forwarder_log_retention_days": 30}
    set_up_secured(replace(secured, values={**secured.values, **back}), settings, update=True)


def change_tags(secured: Secured, names: TableNames) -> None:
    """Add a tag to every stack and remove it, as Terraform does: in the stack's own role."""
    for stack in (secured.lake.storage_stack, secured.lake.forwarder_stack, names.stack):
        state = stack_state(secured.root, stack)
        own = [{"Key": key, "Value": value} for key, value in state.tags.items()]
        for tags in ([*own, {"Key": "team", "Value": "data"}], own):
            secured.root.cloudformation.update_stack(
                StackName=stack,
                UsePreviousTemplate=True,
                Parameters=[{"ParameterKey": name, "UsePreviousValue": True} for name in state.parameters],
                Tags=tags,  # type: ignore[arg-type]
                Capabilities=["CAPABILITY_NAMED_IAM"],
                RoleARN=secured.values["deploy_role_arn"],
            )
            waiter = secured.root.cloudformation.get_waiter("stack_update_complete")
            waiter.wait(StackName=stack, WaiterConfig={"Delay": 1})


def change_delivery(secured: Secured, settings: TableSettings) -> None:
    """Change the table's delivery; the old one is removed when it is empty."""
    moved = replace(settings, delivery="direct" if settings.delivery == "kinesis" else "kinesis")
    names = set_up_secured(secured, moved, update=True)
    parameters = stack_state(secured.root, names.stack).parameters
    assert (parameters["Delivery"], parameters["Beside"]) == (moved.delivery, "none")


def delete_one_raw_object(secured: Secured, names: TableNames) -> None:
    """Delete a raw object, as `raw_retention_days` does days later."""
    store = Table(secured.dag, names).store
    assert store.delete_listed([next(store.list(names.raw_prefix))]).objects == 1


def commands(lake: str) -> list[str]:
    """Return the stacks that the docs delete to remove a lake, in their order."""
    text = example("docs/life.md: Remove a lake: sh")
    stacks = re.findall(r"aws cloudformation delete-stack --stack-name dynalake-prod-(\w+)\n", text)
    assert stacks == ["forwarder", "storage", "airflow"]
    return [f"{lake}-{name}" for name in stacks]


def delete_stack_as_documented(secured: Secured, stack: str) -> None:
    """Delete a stack as an administrator who names no role; CloudFormation uses the stack's role."""
    secured.root.cloudformation.delete_stack(StackName=stack)
    secured.root.cloudformation.get_waiter("stack_delete_complete").wait(StackName=stack, WaiterConfig={"Delay": 1})


def give_up_the_lake(secured: Secured) -> None:
    """Delete the lake, which no DAG does. The database still has the tables of a table whose data stays."""
    assert secured.root.glue.get_tables(DatabaseName=secured.lake.database)["TableList"]
    forwarder, storage, _ = commands(secured.lake.stack_prefix)
    assert (forwarder, storage) == (secured.lake.forwarder_stack, secured.lake.storage_stack)
    for stack in (forwarder, storage):
        delete_stack_as_documented(secured, stack)
    with pytest.raises(ClientError, match="EntityNotFound"):
        secured.root.glue.get_database(Name=secured.lake.database)
    assert secured.root.s3.list_objects_v2(Bucket=secured.lake.bucket)["KeyCount"]


def run(secured: Secured) -> None:
    """Run setup, canary, changes, watch, backfill, compaction, redrive and teardown, with both deliveries."""
    root, dag = secured.root, secured.dag
    with pytest.raises(SourceError, match="no DynamoDB table 'SECURE'"):
        check_source(dag, "SECURE")
    make_table(root, "SECURED-tagged")
    arn = root.dynamodb.describe_table(TableName="SECURED-tagged")["Table"]["TableArn"]
    root.dynamodb.tag_resource(ResourceArn=arn, Tags=[{"Key": "datalake", "Value": "yes"}])
    assert choose_tables(dag, "SECURED-t*, datalake=yes") == ("SECURED-tagged",)
    for delivery in ("kinesis", "direct"):
        table = f"SECURED-{delivery}"
        make_table(root, table, view_type=None)
        settings = TableSettings(table, delivery=delivery, max_record_kb=5, max_retries=0)
        names = set_up_secured(secured, settings)
        if delivery == "kinesis":
            change_everything(secured, settings)
        killed_and_failed(secured, names)
        prove(dag, names, delivery)
        write(secured, table, 30)
        assert len(wait_for_changes(root, names, 30)) == 30
        comparison = watch(dag, names, datetime.now(UTC)).readings.comparison
        assert comparison.equal == comparison.compared > 0
        back_fill(dag, names, "run")
        assert work_at(dag, names, datetime.now(UTC) + timedelta(days=2)) == 60
        assert certify(dag, names)
        if secured.spectrum is None:
            secured.spectrum = redshift_role(secured)
        # Parquet rows only: the raw objects have a change as often as it arrived.
        assert read_as_redshift(secured.spectrum, names)[0] == 60
        # A type that becomes wider, and unreferenced files that are deleted later.
        root.dynamodb.put_item(TableName=table, Item={"id": {"S": "1"}, "n": {"S": "wide"}})
        # All of the snapshot's records have the same sequence number.
        wait_for_changes(root, names, 32)
        assert work_at(dag, names, datetime.now(UTC) + timedelta(days=2)) == 61
        fail_and_redrive(secured, names)
        if delivery == "kinesis":
            root.glue.delete_database(Name=names.lake.database)
            assert [f.kind for f in repair_entries(Table(dag, names))] == ["restored-entry"] * 2
        work_at(dag, names, datetime.now(UTC) + timedelta(days=10))
        if delivery == "kinesis":
            change_tags(secured, names)
        else:
            delete_one_raw_object(secured, names)
        change_delivery(secured, settings)
        tear_down(dag, names, delete_data=delivery == "direct")


def killed_and_failed(secured: Secured, names: TableNames) -> None:
    """Leave a deployment that a killed run has begun, and one that fails."""
    options = LakeOptions.parse({"noncurrent_days": 31 if "kinesis" in names.table else 32})
    spec = storage_spec(secured.lake, create_bucket=True, options=options)
    deployed = stack_state(secured.dag, spec.name)
    first = create_change_set(secured.dag, spec, Deployed(deployed.version, deployed.parameters), purpose="killed")
    second = create_change_set(secured.dag, spec, Deployed(deployed.version, deployed.parameters), purpose="killed")
    assert first is not None
    assert first == second
    delete_change_set(secured.dag, spec.name, first)
    source = check_source(secured.dag, names.table)
    missing = replace(source, stream_arn=source.stream_arn[:-3] + "000")
    storage, forwarder = (stack_state(secured.dag, name).outputs for name in (spec.name, secured.lake.forwarder_stack))
    broken = table_spec(secured.lake.table("FAILS"), TableSettings("FAILS"), missing, storage, forwarder)
    with pytest.raises(StackError, match="Stream not found"):
        apply_stack(secured.dag, broken)


def write(secured: Secured, table: str, count: int) -> None:
    for number in range(count):
        secured.root.dynamodb.put_item(TableName=table, Item={"id": {"S": str(number)}, "n": {"N": "1"}})


def fail_and_redrive(secured: Secured, names: TableNames) -> None:
    """Write a change too long for a record, a malformed one, and one whose function dies; redrive the last."""
    fault = {"service": "lambda", "operation": "Invoke", "code": "Runtime.ExitError", "times": 1}
    secured.root.dynamodb.put_item(TableName=names.table, Item={"id": {"S": "large"}, "x": {"S": "x" * 9000}})
    assert "large" in {change["id"] for change in wait_for_changes(secured.root, names, 33)}
    break_changes(secured.aws, names.table)
    secured.root.dynamodb.put_item(TableName=names.table, Item={"id": {"S": "broken"}})
    patiently(lambda: rejected(secured.root, names))
    secured.aws.call("POST", "/_dynalake/faults", {**fault, "resource": names.lake.forwarder})
    secured.root.dynamodb.put_item(TableName=names.table, Item={"id": {"S": "dies"}})
    patiently_listed(secured, names.lake.failed_batches)
    plan = plan_redrive(Table(secured.dag, names))
    assert plan.changes == 2
    for chunk in plan.chunks:
        replay_chunk(Table(secured.dag, names), "run", chunk)
    assert "dies" in {change["id"] for change in wait_for_changes(secured.root, names, 34)}


def patiently_listed(secured: Secured, prefix: str) -> None:
    def look() -> None:
        if not secured.root.s3.list_objects_v2(Bucket=secured.lake.bucket, Prefix=prefix).get("KeyCount"):
            raise NotReadyError(f"No object under {prefix}")

    patiently(look)


def tear_down(dag: Any, names: TableNames, *, delete_data: bool) -> None:
    drain(dag, names)
    delete_stack(Table(dag, names))
    if delete_data:
        delete_catalog(Table(dag, names))
        delete_objects(Table(dag, names))


def used(secured: Secured, role: str) -> list[dict[str, Any]]:
    return [action for action in secured.aws.call("GET", "/_dynalake/actions") if action["role"] == secured.roles[role]]


def test_no_action_of_a_role_was_denied(full_run: Secured) -> None:
    denied = [action for role in ROLES for action in used(full_run, role) if action["decision"] != "Allow"]
    assert denied == []


@pytest.mark.parametrize("role", ROLES)
def test_no_role_was_granted_more_than_it_used(full_run: Secured, role: str) -> None:
    actions = used(full_run, role)
    unused = []
    for statement in full_run.policies[role]:
        for action in statement["Action"]:
            is_used = any(
                call["action"].lower() == action.lower()
                and any(fnmatchcase(call["resource"], r) for r in statement["Resource"])
                for call in actions
            )
            if not is_used and action not in NOT_SHOWN[role]:
                unused.append((statement["Sid"], action))
    assert unused == []


@pytest.mark.parametrize("role", ROLES)
def test_actions_that_local_aws_cannot_show_are_granted_and_unused(full_run: Secured, role: str) -> None:
    granted = {action for statement in full_run.policies[role] for action in statement["Action"]}
    assert set(NOT_SHOWN[role]) <= granted


@pytest.mark.parametrize("role", ROLES)
def test_every_wildcard_has_a_stated_reason(full_run: Secured, role: str) -> None:
    for statement in full_run.policies[role]:
        assert not [action for action in statement["Action"] if "*" in action]
        if "*" in statement["Resource"]:
            assert statement["Sid"] in WILDCARDS
            # The template gives the reason, too, in the comment above the statement.
            texts = [path.read_text(encoding="utf-8") for path in sorted(TEMPLATES.glob("*.yaml"))]
            assert any(
                re.search(rf"# [^\n]+\n(?: +- !If\n +- \w+\n)? +- Sid: {statement['Sid']}\n", text) for text in texts
            )


def test_the_dags_cannot_deploy_with_their_own_permissions(full_run: Secured) -> None:
    """The DAGs' role may not do what CloudFormation may."""
    dag: Any = full_run.dag
    calls: list[Callable[[], Any]] = [
        lambda: dag.s3.create_bucket(Bucket="another"),
        lambda: dag._make("iam").create_role(RoleName="dynalake-x", AssumeRolePolicyDocument="{}"),
        lambda: dag.kinesis.delete_stream(StreamName="dynalake-iam_run-X"),
        lambda: dag.ssm.put_parameter(Name="/dynalake/iam-run/lake", Value="x", Type="String"),
        lambda: dag.s3.get_object(Bucket=full_run.lake.bucket, Key="athena-results/somebody.csv"),
        lambda: dag.cloudformation.describe_stacks(StackName="dynalake-iam-storage"),
        lambda: dag.lambda_.invoke(FunctionName="dynalake-iam-forwarder"),
    ]
    for call in calls:
        with pytest.raises(ClientError, match=r"(?i)not authorized|AccessDenied|Forbidden"):
            call()


def test_redshift_reads_the_tables_and_nothing_else(full_run: Secured) -> None:
    """The run covers its reads (`read_as_redshift`); this covers what it must not do: read other folders, or write."""
    spectrum: Any = full_run.spectrum
    bucket, database, names = full_run.lake.bucket, full_run.lake.database, full_run.lake.table("SECURED-kinesis")
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
        lambda: spectrum.ssm.get_parameter(Name=full_run.lake.lake_parameter),
        lambda: spectrum.dynamodb.scan(TableName="SECURED-kinesis"),
    ]
    for number, call in enumerate(calls):
        with pytest.raises(ClientError, match=r"(?i)not authorized|AccessDenied|Forbidden"):
            pytest.fail(f"{number}: {call()}")


def test_the_roles_are_bounded(full_run: Secured) -> None:
    assert set(full_run.boundaries) == {"Role", "FirehoseRole"}
    for boundary in full_run.boundaries.values():
        assert boundary.startswith(f"arn:aws:iam::{ACCOUNT}:policy/")


def test_a_lake_without_a_boundary_gets_one(enforced: LocalAws) -> None:
    """An administrator made it with their own rights; from now on the DAGs deploy."""
    secured = secure(enforced, "iam-later")
    apply_stack(secured.root, storage_spec(secured.lake, create_bucket=True))
    iam: Any = secured.root._make("iam")
    name = f"dynalake-{secured.lake.environment}-us-east-1-firehose"
    assert "PermissionsBoundary" not in iam.get_role(RoleName=name)["Role"]
    options = LakeOptions.parse({name: value for name, value in secured.values.items() if name != "kms_key_arn"})
    apply_stack(
        secured.dag,
        storage_spec(secured.lake, create_bucket=creates_bucket(secured.dag, secured.lake), options=options),
    )
    bounded = iam.get_role(RoleName=name)["Role"]["PermissionsBoundary"]["PermissionsBoundaryArn"]
    assert bounded == secured.values["permissions_boundary_arn"]


def test_a_lake_without_a_key_works_within_its_boundary(enforced: LocalAws) -> None:
    """Its streams are encrypted with the AWS managed key, which the boundary has to allow.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_boundaries.html
    """
    secured = secure(enforced, "iam-keyless", key=False)
    make_table(secured.root, "KEYLESS", view_type=None)
    settings = TableSettings("KEYLESS")
    names = set_up_secured(secured, settings)
    write(secured, "KEYLESS", 3)
    assert len(wait_for_changes(secured.root, names, 3)) == 3


def test_a_role_that_may_not_delete_data_still_converts_and_compacts(enforced: LocalAws) -> None:
    secured = secure(enforced, "iam-keeps", key=False)
    make_table(secured.root, "KEPT", view_type=None)
    names = set_up_secured(secured, TableSettings("KEPT"))
    # The first setup has made the bucket; from now on no role deletes.
    deploy_roles(
        secured.root, "iam-keeps", f"arn:aws:iam::{ACCOUNT}:root", more={"MayDeleteData": "false"}, update=True
    )
    write(secured, "KEPT", 3)
    wait_for_changes(secured.root, names, 3)
    convert_due(Table(secured.dag, names), right_now)
    (file,) = Table(secured.dag, names).changes().files()
    assert file.rows == 3
    with pytest.raises((ClientError, AccessError), match="AccessDenied"):
        delete_one_raw_object(secured, names)
    tear_down(secured.dag, names, delete_data=False)
    with pytest.raises(ClientError, match="glue:DeleteTable"):
        delete_catalog(Table(secured.dag, names))
    with pytest.raises((ClientError, AccessError), match=r"DeleteObjectVersion|AccessDenied"):
        delete_objects(Table(secured.dag, names))
    assert len(wait_for_changes(secured.root, names, 3)) == 3


def test_the_roles_reach_only_the_lake_in_a_bucket_of_the_user(enforced: LocalAws) -> None:
    bucket = "company-data"
    secured = secure(enforced, "iam-shared", key=False, bucket=bucket)
    root = secured.root
    root.s3.create_bucket(Bucket=bucket)
    root.s3.put_object(Bucket=bucket, Key="hr/salaries.csv", Body=b"alice,100000")
    make_table(root, "SHARED", view_type=None)
    set_up_secured(secured, TableSettings("SHARED"))
    # An attacker with the DAGs' role deploys a stack that would give the bucket away.
    principal = {"AWS": "arn:aws:iam::999999999999:root"}
    allow = {
        "Effect": "Allow",
        "Principal": principal,
        "Action": "s3:GetObject",
        "Resource": f"arn:aws:s3:::{bucket}/*",
    }
    policy = {"Bucket": bucket, "PolicyDocument": {"Version": "2012-10-17", "Statement": [allow]}}
    template = json.dumps({"Resources": {"Away": {"Type": "AWS::S3::BucketPolicy", "Properties": policy}}})
    spec = replace(storage_spec(secured.lake, create_bucket=False, options=secured.options), template=template)
    stack = f"{secured.lake.stack_prefix}-table-AWAY"
    with pytest.raises(StackError, match="AccessDenied"):
        apply_stack(secured.dag, replace(spec, name=stack, parameters={}, declared=()))
    with pytest.raises(ClientError, match="NoSuchBucketPolicy"):
        root.s3.get_bucket_policy(Bucket=bucket)
    with pytest.raises(ClientError, match="AccessDenied"):
        secured.dag.s3.get_object(Bucket=bucket, Key="hr/salaries.csv")


def test_a_role_that_may_not_be_passed_fails_the_deployment(full_run: Secured) -> None:
    options = LakeOptions.parse({"deploy_role_arn": f"arn:aws:iam::{ACCOUNT}:role/administrator"})
    with pytest.raises((ClientError, StackError), match="iam:PassRole"):
        apply_stack(full_run.dag, storage_spec(full_run.lake, create_bucket=True, options=options))


def test_the_roles_of_the_lake_are_deleted_last(full_run: Secured) -> None:
    """By the last command in the docs, when nothing in the lake needs them any more."""
    stack = commands(full_run.lake.stack_prefix)[-1]
    assert stack == roles_stack("iam-run")
    delete_stack_as_documented(full_run, stack)
    assert not stack_state(full_run.root, stack).exists
