"""One lake under enforced IAM: the roles and their grants, and a whole run in which each role does its part."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pyarrow.parquet as pq

from dynalake.aws.clients import Clients
from dynalake.backfill.export.export import check_exports, remove_exports, request_exports
from dynalake.backfill.export.manifest import store_groups
from dynalake.backfill.export.read import convert_group
from dynalake.backfill.plan.run import plan_backfill
from dynalake.backfill.scan.scan import scan_segment
from dynalake.capture.lake.bucket import creates_bucket
from dynalake.capture.lake.options import try_key
from dynalake.capture.lake.registry import check_names, check_settings, find_settings, list_tables, plan_lake
from dynalake.capture.proof.alarms import arm_alarms, silence_alarms
from dynalake.capture.proof.hand_off import record_hand_off
from dynalake.capture.source.readers import other_readers
from dynalake.capture.source.source import check_source
from dynalake.capture.stacks.package import build_package, place_code
from dynalake.capture.stacks.specs import forwarder_spec, storage_spec
from dynalake.capture.stacks.stacks import apply_stack, plan_stack
from dynalake.capture.table_stack import TableStack
from dynalake.certify.compare import compare_items
from dynalake.certify.doubts import settle_doubts
from dynalake.convert.finish import convert_due
from dynalake.days import SNAPSHOT_DAY
from dynalake.lake.catalog.table import Table
from dynalake.lake.hive.hive import remove_partitions
from dynalake.names import Lake, TableNames
from dynalake.night.night import Requests, work
from dynalake.options.backfill import BackfillOptions
from dynalake.options.lake_options import LakeOptions
from dynalake.options.settings import TableSettings
from dynalake.sizing.limits import check_stream, read_stream
from dynalake.sizing.shards import plan_shards
from dynalake.sizing.usage import read_usage
from dynalake.watch.alerts import publish_alert
from dynalake.watch.gather import gather
from dynalake.watch.judge import Targets, Verdict
from dynalake.watch.status import TableStatus, load_overview, load_status, save_overview, save_status
from infra.local.run.process import LocalAws
from tests.support.aws.capture_steps import capture, leave, patiently
from tests.support.aws.lake import register, right_now, show

ACCOUNT = "000000000000"
# Not the default, so that a grant that names the default fails.
PREFIX = "lake/raw"
AIRFLOW = Path("infra/cloudformation/airflow.yaml")
REDSHIFT = Path("infra/cloudformation/redshift.yaml")


@dataclass
class Secured:
    """A local AWS that enforces IAM, the account's root, and the DAGs' role of one lake."""

    aws: LocalAws
    root: Clients
    dag: Clients
    lake: Lake
    values: Mapping[str, Any]
    """The lake's options."""
    roles: Mapping[str, str]
    """The roles' names by logical name: `DagRole`, `DeployRole`, later `Role` and `FirehoseRole`."""
    policies: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Each role's grants."""
    spectrum: Clients | None = None
    """Redshift's role, as soon as it exists."""
    boundaries: Mapping[str, str] = field(default_factory=dict)
    """The ARN of the boundary of each role that a stack made."""

    @property
    def options(self) -> LakeOptions:
        return LakeOptions.parse(self.values)


def secure(aws: LocalAws, environment: str, *, key: bool = True, bucket: str = "") -> Secured:
    """Deploy the roles of the lake as an administrator, and assume the DAGs' role, with tracing and a key."""
    root = clients_with(aws, aws.key, aws.key)
    kms: Any = root._make("kms")
    arn = kms.create_key()["KeyMetadata"]["Arn"] if key else ""
    outputs = deploy_roles(root, environment, f"arn:aws:iam::{ACCOUNT}:root", arn, {"BucketName": bucket})
    session = root.sts.assume_role(RoleArn=outputs["DagRoleArn"], RoleSessionName="airflow")["Credentials"]
    dag = clients_with(aws, session["AccessKeyId"], session["SecretAccessKey"], session["SessionToken"])
    options = {
        "deploy_role_arn": outputs["DeployRoleArn"],
        "permissions_boundary_arn": outputs["PermissionsBoundaryArn"],
        "kms_key_arn": arn,
        "tracing": "Active",
    }
    lake = plan_lake(dag, environment, bucket, prefix=PREFIX)
    return Secured(aws, root, dag, lake, options, roles_of(root, roles_stack(environment)))


def roles_stack(environment: str) -> str:
    """Return the name of the stack of the lake's roles."""
    return f"dynalake-{environment.replace('-', '--')}-airflow"


def deploy_roles(
    root: Clients,
    environment: str,
    trusted: str,
    key: str = "",
    more: Mapping[str, str] | None = None,
    *,
    update: bool = False,
) -> dict[str, str]:
    """Deploy the template of the lake's roles as an administrator; return the stack's outputs.

    `key` is the lake's, if any; `more`: other parameters of the template.
    """
    stack = roles_stack(environment)
    deploy: Any = root.cloudformation.update_stack if update else root.cloudformation.create_stack
    deploy(
        StackName=stack,
        TemplateBody=AIRFLOW.read_text(encoding="utf-8"),
        Parameters=[
            {"ParameterKey": "Environment", "ParameterValue": environment},
            {"ParameterKey": "Prefix", "ParameterValue": PREFIX},
            {"ParameterKey": "TrustedPrincipalArns", "ParameterValue": trusted},
            {"ParameterKey": "KmsKeyArn", "ParameterValue": key},
            {"ParameterKey": "MayChangeTables", "ParameterValue": "true"},
            *({"ParameterKey": name, "ParameterValue": value} for name, value in (more or {}).items()),
        ],
        Capabilities=["CAPABILITY_IAM"],
    )
    waiter: Any = root.cloudformation.get_waiter(f"stack_{'update' if update else 'create'}_complete")  # type: ignore[call-overload]
    waiter.wait(StackName=stack, WaiterConfig={"Delay": 1})
    described = root.cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
    return {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}


def clients_with(aws: LocalAws, key: str, secret: str, token: str | None = None) -> Clients:
    """Return clients of local AWS with these credentials."""
    session = boto3.Session(key, secret, token, region_name="us-east-1")
    return Clients.of(session, endpoint_url=lambda service: aws.endpoint_url)


def roles_of(clients: Clients, stack: str) -> dict[str, str]:
    """Return the roles of a stack by logical name."""
    resources = clients.cloudformation.describe_stack_resources(StackName=stack)["StackResources"]
    return {r["LogicalResourceId"]: r["PhysicalResourceId"] for r in resources if r["ResourceType"] == "AWS::IAM::Role"}


def set_up_secured(secured: Secured, settings: TableSettings, *, update: bool = False) -> TableNames:
    """Run the steps of `dynalake_setup` in the DAGs' role."""
    dag, lake = secured.dag, secured.lake
    names = lake.table(settings.table)
    source = check_source(dag, settings.table, enable_stream=True, enable_pitr=True)
    assert other_readers(dag, lake, source.stream_arn) is not None
    if key := secured.options.kms_key_arn:
        try_key(dag, key)
    check_names(Table(dag, names))
    check_settings(Table(dag, names), settings, update=update)
    storage_plan = storage_spec(lake, create_bucket=creates_bucket(dag, lake), options=secured.options)
    plan_stack(dag, storage_plan)
    storage = apply_stack(dag, storage_plan)
    code = place_code(dag, lake, build_package(lake))
    forwarder = apply_stack(dag, forwarder_spec(lake, storage, code, secured.options))
    stream, now = read_stream(Table(dag, names)), datetime.now(UTC)
    planned = plan_shards(settings, read_usage(Table(dag, names), now), stream)
    check_stream(Table(dag, names), settings, stream, planned.shards, now)
    stack = TableStack(Table(dag, names), settings, source, storage, forwarder, planned.shards)
    mapping_id = capture(stack)
    leave(stack)
    register(dag, names, source.key, source.arn)
    record_hand_off(Table(dag, names), mapping_id)
    # As after a teardown that was begun and not finished.
    silence_alarms(Table(dag, names))
    arm_alarms(Table(dag, names))
    return names


def back_fill(dag: Clients, names: TableNames, run: str) -> int:
    """Backfill by each method in the DAGs' role, by scan last; return the number of items that it kept."""
    before = datetime.now(UTC).isoformat()
    plan_backfill(Table(dag, names), f"{run}-export", BackfillOptions(method="export", updated_before=before))
    exports = request_exports(Table(dag, names), run=f"{run}-export")
    finished = patiently(lambda: check_exports(Table(dag, names), exports))
    for segment in range(len(store_groups(Table(dag, names), finished, run=f"{run}-export").groups)):
        convert_group(Table(dag, names), run=f"{run}-export", segment=segment)
    assert show(Table(dag, names), f"{run}-export").shown
    remove_exports(Table(dag, names), run=f"{run}-export")
    plan = plan_backfill(Table(dag, names), run, BackfillOptions(method="scan", segments=2, updated_before=before))
    for segment in range(plan.segments):
        scan_segment(Table(dag, names), run=run, segment=segment)
    assert show(Table(dag, names), run).shown
    return sum(1 for _ in dag.dynamodb.get_paginator("scan").paginate(TableName=names.table))


def work_at(dag: Clients, names: TableNames, now: datetime) -> int:
    """Convert, and run a whole night at that time, in the DAGs' role; return the number of rows in the changes."""
    assert names.table in list_tables(dag, names.lake)
    table, settings = Table(dag, names), find_settings(Table(dag, names))
    assert settings is not None
    convert_due(table, right_now)
    requests = Requests(fold=True, scrub=True)
    faults = work(
        table, replace(settings, orc_copy=True), lambda: now, lambda line: None, requests, raw_retention_days=8
    )
    assert not faults, faults
    remove_partitions(table, names.orc_table, [SNAPSHOT_DAY])
    return sum(file.rows for file in table.changes().files())


def redshift_role(secured: Secured) -> Clients:
    """Deploy the role for Redshift Spectrum as an administrator, once; return clients in it.

    Only Redshift may assume it, which local AWS does not have, so the administrator lets the account assume it, too.
    """
    stack = f"{secured.lake.environment}-redshift"
    parameters = {"Environment": secured.lake.environment, "Prefix": PREFIX, "KmsKeyArn": secured.values["kms_key_arn"]}
    secured.root.cloudformation.create_stack(
        StackName=stack,
        TemplateBody=REDSHIFT.read_text(encoding="utf-8"),
        Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()],
        Capabilities=["CAPABILITY_IAM"],
    )
    secured.root.cloudformation.get_waiter("stack_create_complete").wait(StackName=stack, WaiterConfig={"Delay": 1})
    roles = roles_of(secured.root, stack)
    secured.roles = {**secured.roles, **roles}
    iam: Any = secured.root._make("iam")
    role = iam.get_role(RoleName=roles["SpectrumRole"])["Role"]
    (trusted,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert set(trusted["Principal"]["Service"]) == {"redshift.amazonaws.com", "redshift-serverless.amazonaws.com"}
    assert set(trusted["Principal"]) == {"Service"}
    also = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trusted, also]})
    iam.update_assume_role_policy(RoleName=roles["SpectrumRole"], PolicyDocument=document)
    taken = secured.root.sts.assume_role(RoleArn=role["Arn"], RoleSessionName="redshift")["Credentials"]
    return clients_with(secured.aws, taken["AccessKeyId"], taken["SecretAccessKey"], taken["SessionToken"])


def read_as_redshift(spectrum: Clients, names: TableNames) -> tuple[int, int]:
    """Make Redshift's requests for a query of each table: the catalog, then every object; return the rows of both."""
    glue, s3, lake = spectrum.glue, spectrum.s3, names.lake
    glue.get_database(Name=lake.database)
    table_names = {table["Name"] for table in glue.get_tables(DatabaseName=lake.database)["TableList"]}
    assert {names.parquet_table, names.json_table} <= table_names
    s3.get_bucket_location(Bucket=lake.bucket)
    rows = []
    for table in (names.parquet_table, names.json_table):
        where: Any = {"DatabaseName": lake.database, "TableName": table}
        glue.get_table(DatabaseName=lake.database, Name=table)
        partitions = glue.get_partitions(**where)["Partitions"]
        days: Any = [{"Values": p["Values"]} for p in partitions]
        assert glue.get_partition(**where, PartitionValues=partitions[0]["Values"])["Partition"]["Values"]
        assert len(glue.batch_get_partition(**where, PartitionsToGet=days)["Partitions"]) == len(partitions)
        count = 0
        for partition in partitions:
            prefix = partition["StorageDescriptor"]["Location"].removeprefix(f"s3://{lake.bucket}/")
            for entry in s3.list_objects_v2(Bucket=lake.bucket, Prefix=prefix).get("Contents", []):
                body = s3.get_object(Bucket=lake.bucket, Key=entry["Key"])["Body"].read()
                if table == names.parquet_table:
                    count += pq.read_metadata(io.BytesIO(body)).num_rows
                else:
                    text = gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body
                    count += sum(json.loads(line)["__operation"] != "CANARY" for line in text.splitlines())
        rows.append(count)
    return rows[0], rows[1]


def watch(dag: Clients, names: TableNames, now: datetime) -> TableStatus:
    """Watch the table in the DAGs' role."""
    settings = find_settings(Table(dag, names))
    assert settings is not None
    before = load_status(Table(dag, names))
    previous = None if before is None else before.readings
    status = TableStatus.of(
        names.table, gather(Table(dag, names), settings, Targets(), now, previous=previous), Targets()
    )
    save_status(Table(dag, names), status)
    save_overview(dag, names.lake, [names.table], now)
    late = replace(status, verdicts=(Verdict("late", "Changes arrive late", "check the delivery"),))
    assert publish_alert(dag, names.lake, [late], now) is None
    assert load_overview(dag, names.lake) is not None
    return status


def certify(dag: Clients, names: TableNames) -> bool:
    """Compare every item with the lake by each method, in the DAGs' role; return whether all are equal."""
    table, certificates = Table(dag, names), []
    for method in ("export", "scan"):
        run = f"certify-{method}"
        plan_backfill(table, run, BackfillOptions(method=method))
        if method == "export":
            exports = request_exports(table, run=run)
            store_groups(table, patiently(partial(check_exports, table, exports)), run=run)
        compare_items(table, run=run)
        remove_exports(table, run=run)
        certificates.append(settle_doubts(table, run=run, target_minutes=0))
    return all(certificate.equal for certificate in certificates)


def policies_of(root: Clients, role: str) -> list[dict[str, Any]]:
    """Return every statement of a role's policies, its actions and resources as lists."""
    iam: Any = root._make("iam")
    documents = [
        iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
        for name in iam.list_role_policies(RoleName=role)["PolicyNames"]
    ]
    for attached in iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]:
        version = iam.get_policy(PolicyArn=attached["PolicyArn"])["Policy"]["DefaultVersionId"]
        policy = iam.get_policy_version(PolicyArn=attached["PolicyArn"], VersionId=version)
        documents.append(policy["PolicyVersion"]["Document"])
    statements = []
    for document in documents:
        parsed = json.loads(document) if isinstance(document, str) else document
        for statement in parsed["Statement"]:
            statements.append({**statement, **{k: _list(statement[k]) for k in ("Action", "Resource")}})
    return statements


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
