"""Real accounts: a boundary and a key that come later, and streams that others read, too."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import pytest
from botocore.exceptions import ClientError

from dynalake.aws.clients import Clients
from dynalake.aws.refusals import explain
from dynalake.capture.lake.options import check_options, try_key
from dynalake.capture.lake.registry import load_lake, plan_lake
from dynalake.capture.source.readers import other_readers
from dynalake.capture.source.source import check_source
from dynalake.errors import AccessError, SettingsError
from dynalake.options.lake_options import LakeOptions
from dynalake.options.settings import TableSettings
from infra.local.run.process import LocalAws
from tests.support.aws.capture_steps import SOON, make_table, set_up, wait_for_changes


def test_a_lake_gets_its_boundary_and_its_key_later(clients: Clients) -> None:
    """Writes continue, and all later resources have them."""
    make_table(clients, "LATER")
    names = set_up(clients, "gets-later", TableSettings("LATER", buffer_seconds=SOON)).names
    clients.dynamodb.put_item(TableName="LATER", Item={"id": {"S": "before"}})
    kms: Any = clients.kms
    key = kms.create_key()["KeyMetadata"]["Arn"]
    bound = f"arn:aws:iam::{names.lake.account}:policy/bounds"
    options = LakeOptions.parse({"kms_key_arn": key, "permissions_boundary_arn": bound})
    try_key(clients, key)
    check_options(clients, names.lake, options, update=True)
    set_up(clients, "gets-later", TableSettings("LATER", buffer_seconds=SOON), options=options)
    clients.dynamodb.put_item(TableName="LATER", Item={"id": {"S": "after"}})
    changes = wait_for_changes(clients, names, 2)
    assert {change["id"] for change in changes} == {"before", "after"}
    iam: Any = clients._make("iam")
    for stack, role in ((names.lake.storage_stack, "FirehoseRole"), (names.lake.forwarder_stack, "Role")):
        resources = clients.cloudformation.describe_stack_resources(StackName=stack)["StackResources"]
        (role_name,) = [r["PhysicalResourceId"] for r in resources if r["LogicalResourceId"] == role]
        attached = iam.get_role(RoleName=role_name)["Role"]["PermissionsBoundary"]
        assert attached["PermissionsBoundaryArn"] == bound, role
    (rule,) = clients.s3.get_bucket_encryption(Bucket=names.lake.bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}
    assert clients.kinesis.describe_stream_summary(StreamName=names.stream)["StreamDescriptionSummary"]["KeyId"] == key
    assert load_lake(clients, "gets-later").kms_key_arn == key
    with pytest.raises(SettingsError, match="cannot be used: NotFoundException"):
        try_key(clients, f"{key[:-4]}0000")


def test_a_refusal_by_lake_formation_says_what_to_grant(clients: Clients, local_aws: LocalAws) -> None:
    """It refuses a missing table in the same way.

    https://docs.aws.amazon.com/lake-formation/latest/dg/lake-formation-troubleshooting.html
    """
    message = "Insufficient Lake Formation permission(s): Required Describe on receipts"
    fault = {"service": "glue", "operation": "GetTable", "code": "AccessDeniedException", "times": 1}
    local_aws.call("POST", "/_dynalake/faults", {**fault, "message": message})
    with pytest.raises(ClientError) as refused:
        clients.glue.get_table(DatabaseName="dynalake_governed", Name="receipts")
    error = explain(refused.value, "aws_default")
    assert isinstance(error, AccessError)
    assert "Lake Formation refuses GetTable: Describe on receipts is not granted" in str(error)
    assert "lake_formation_writer_arn" in error.action


def test_other_readers_of_a_stream_are_found(clients: Clients) -> None:
    make_table(clients, "READ-BY-OTHERS")
    lake = plan_lake(clients, "read-by-others")
    stream = check_source(clients, "READ-BY-OTHERS").stream_arn
    assert other_readers(clients, lake, stream) == ()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("index.py", "def handler(event, context): return None")
    for function in ("orders", lake.forwarder):
        clients.lambda_.create_function(
            FunctionName=function,
            Runtime="python3.13",
            Handler="index.handler",
            Role=f"arn:aws:iam::{lake.account}:role/any",
            Code={"ZipFile": archive.getvalue()},
        )
        clients.lambda_.create_event_source_mapping(
            FunctionName=function, EventSourceArn=stream, StartingPosition="LATEST"
        )
    assert other_readers(clients, lake, stream) == ("orders",)
