"""The grants of the roles of airflow.yaml, compared with AWS's own lists of existing and required actions."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

import pytest

from tests.unit.role_grants import PSEUDO, Resolved, Statement, handlers, has_resource, is_action, resources

KEY = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"
DEPLOY = ("BucketPolicy", "StoragePolicy", "PipelinePolicy")
DAGS = ("DeployPolicy", "DataPolicy")
POLICIES = (*DAGS, *DEPLOY, "Boundary")
ENVIRONMENT, BUCKET = "a-b-c-d-e-f-g-hh", "company-data"
OWN_BUCKET = f"arn:aws:s3:::dynalake-{ENVIRONMENT}-123456789012-eu-west-1"

# Actions that handlers call for properties that no template sets, by the property.
NOT_SET = {
    "AccelerateConfiguration": "s3:GetAccelerateConfiguration s3:PutAccelerateConfiguration",
    "AbacStatus": "s3:GetBucketAbac s3:PutBucketAbac",
    "AccessControl": "s3:GetBucketAcl s3:PutBucketAcl s3:PutObjectAcl",
    "AnalyticsConfigurations": "s3:GetAnalyticsConfiguration s3:PutAnalyticsConfiguration",
    "CorsConfiguration": "s3:GetBucketCORS s3:PutBucketCORS",
    "IntelligentTieringConfigurations": "s3:GetIntelligentTieringConfiguration s3:PutIntelligentTieringConfiguration",
    "InventoryConfigurations": "s3:GetInventoryConfiguration s3:PutInventoryConfiguration",
    "MetadataTableConfiguration": "s3:CreateBucketMetadataTableConfiguration s3:GetBucketMetadataTableConfiguration "
    "s3:DeleteBucketMetadataTableConfiguration s3tables:CreateNamespace s3tables:CreateTable "
    "s3tables:CreateTableBucket s3tables:GetTable s3tables:GetTableMetadataLocation s3tables:PutTableBucketPolicy "
    "s3tables:PutTableEncryption s3tables:PutTablePolicy s3tables:UpdateTableMetadataLocation",
    "MetadataConfiguration": "s3:UpdateBucketMetadataAnnotationTableConfiguration "
    "s3:UpdateBucketMetadataInventoryTableConfiguration s3:UpdateBucketMetadataJournalTableConfiguration",
    "NotificationConfiguration": "s3:GetBucketNotification s3:PutBucketNotification",
    "ObjectLockConfiguration": "s3:GetBucketObjectLockConfiguration s3:PutBucketObjectLockConfiguration",
    "ReplicationConfiguration": "s3:GetReplicationConfiguration s3:PutReplicationConfiguration",
    "WebsiteConfiguration": "s3:DeleteBucketWebsite s3:GetBucketWebsite s3:PutBucketWebsite",
    "FederatedDatabase": "glue:CreateConnection glue:DeleteConnection glue:GetConnection glue:PassConnection "
    "glue:UpdateConnection",
    "ManagedPolicyArns": "iam:AttachRolePolicy iam:DetachRolePolicy",
    "MaxSessionDuration": "iam:UpdateRole",
    "DesiredShardLevelMetrics": "kinesis:DisableEnhancedMonitoring kinesis:EnableEnhancedMonitoring",
    "MaxRecordSizeInKiB": "kinesis:UpdateMaxRecordSize",
    "WarmThroughputMiBps": "kinesis:UpdateStreamWarmThroughput",
    "RecordDistributionStrategy": "kinesis:UpdateStreamRecordDistributionStrategy",
    "VpcConfig": "ec2:DescribeNetworkInterfaces ec2:DescribeSecurityGroups ec2:DescribeSubnets ec2:DescribeVpcs",
    "FileSystemConfigs": "elasticfilesystem:DescribeMountTargets s3files:ListMountTargets",
    "Layers": "lambda:GetLayerVersion",
    "CodeSigningConfigArn": "lambda:GetCodeSigningConfig lambda:PutFunctionCodeSigningConfig "
    "lambda:DeleteFunctionCodeSigningConfig",
    "RecursiveLoop": "lambda:PutFunctionRecursionConfig",
    "RuntimeManagementConfig": "lambda:AssociateRuntimeAlias lambda:PutRuntimeManagementConfig",
    "FunctionScalingConfig": "lambda:PutFunctionScalingConfig",
    "CapacityProviderConfig": "lambda:PassCapacityProvider",
    "PublishToLatestPublished": "lambda:PublishVersion",
    "BearerTokenAuthenticationEnabled": "logs:PutBearerTokenAuthentication",
    "FieldIndexPolicies": "logs:DeleteIndexPolicy logs:DescribeIndexPolicies logs:PutIndexPolicy",
    "ResourcePolicyDocument": "logs:DeleteResourcePolicy logs:DescribeResourcePolicies logs:PutResourcePolicy "
    "logs:CreateLogDelivery",
    "DeletionProtectionEnabled": "logs:PutLogGroupDeletionProtection",
    "DataProtectionPolicy": "logs:DeleteDataProtectionPolicy logs:GetDataProtectionPolicy "
    "logs:PutDataProtectionPolicy sns:PutDataProtectionPolicy",
    "FilterPolicy": "sns:SetSubscriptionAttributes",
}
# Actions that CloudFormation calls when a property that the templates always set is removed, or never.
NEVER = {
    "iam:DeleteRolePermissionsBoundary": "a role's boundary is not taken away",
    "kinesis:StopStreamEncryption": "a stream is always encrypted",
    "firehose:StopDeliveryStreamEncryption": "a stream is always encrypted",
    "logs:DeleteRetentionPolicy": "a log is always kept for some days",
    "logs:DisassociateKmsKey": "a lake keeps its key",
    "s3:DeleteObject": "nothing is deleted with a bucket that is not empty",
}


def granted(policies: tuple[str, ...], **parameters: str) -> Iterator[tuple[Statement, str]]:
    """Yield each statement with each of its actions."""
    resolved = Resolved(
        "airflow", **{"Environment": ENVIRONMENT, "KmsKeyArn": KEY, "MayChangeTables": "true"} | parameters
    )
    for name in policies:
        for statement in resolved.policy(name):
            for action in statement["Action"]:
                yield statement, action


def actions(*policies: str, **parameters: str) -> set[str]:
    return {action for _, action in granted(policies, **parameters)}


def reaches(resource: str, action: str, *policies: str, **parameters: str) -> bool:
    """Return whether an action on a resource is granted."""
    return any(
        action == granted_action and any(fnmatchcase(resource, r) for r in statement["Resource"])
        for statement, granted_action in granted(policies, **parameters)
    )


def test_cloudformation_has_exactly_the_actions_that_the_resource_handlers_call() -> None:
    """In both directions: a missing action fails a deployment halfway, and an extra one is an unneeded right."""
    called = {action for kind, _ in resources() for action in handlers(kind) if is_action(action)}
    left_out = {action for listed in NOT_SET.values() for action in listed.split()} | set(NEVER)
    allowed = actions(*DEPLOY)
    assert sorted(called - left_out - allowed) == []
    assert sorted(allowed - called) == []
    assert sorted(allowed & left_out) == []


def test_omitted_actions_are_for_properties_that_no_template_sets() -> None:
    def properties(node: object) -> Iterator[str]:
        if isinstance(node, dict):
            yield from node
        for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            yield from properties(child)

    used = {name for _, properties_of in resources() for name in properties(properties_of)}
    assert sorted(used & set(NOT_SET)) == []


def test_every_taggable_resource_may_be_tagged_and_untagged() -> None:
    """A stack's tags are also its resources' tags, and a user may remove one (Terraform's `tags`)."""
    tags = {a for kind, _ in resources() for a in handlers(kind) if "Tag" in a and is_action(a)}
    assert tags - actions(*DEPLOY) == set()
    assert {"cloudformation:TagResource"} <= actions("DeployPolicy")


@pytest.mark.parametrize("policy", POLICIES)
def test_an_action_exists_in_aws_and_names_a_resource_if_possible(policy: str) -> None:
    """https://docs.aws.amazon.com/service-authorization/latest/reference/reference.html"""
    for statement, action in granted((policy,)):
        assert "*" not in action
        assert is_action(action), action
        if not has_resource(action):
            assert statement["Resource"] == ["*"], f"{action} has no resource type"


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("bucket", ["", "b" * 63])
def test_a_policy_is_not_too_long(policy: str, bucket: str) -> None:
    """6,144 characters: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html"""
    parameters = {"Environment": ENVIRONMENT, "KmsKeyArn": KEY, "MayChangeTables": "true", "BucketName": bucket}
    longest = Resolved(
        "airflow", **parameters, Prefix="p" * 100, **{"AWS::Region": "r" * 14, "AWS::Partition": "aws-us-gov"}
    )
    assert len(longest.text(policy)) <= 6144


@pytest.mark.parametrize("bucket", ["", BUCKET])
def test_every_grant_on_a_bucket_is_limited_to_the_account(bucket: str) -> None:
    """Bucket names are global. A bucket that does not exist yet has no account, so no condition can hold."""
    elsewhere = [
        *Resolved("storage", Environment=ENVIRONMENT).inline("FirehoseRole"),
        *Resolved("forwarder", Environment=ENVIRONMENT).inline("Role"),
        *Resolved("spark", Environment=ENVIRONMENT, BucketName=bucket).inline("Role"),
        *Resolved("redshift", Environment=ENVIRONMENT, BucketName=bucket).inline("SpectrumRole"),
    ]
    statements = [(s, a) for s in elsewhere for a in s["Action"]]
    for statement, action in [*granted(POLICIES, BucketName=bucket), *statements]:
        if action.startswith("s3:"):
            owner = statement.get("Condition", {}).get("StringEquals", {}).get("aws:ResourceAccount")
            before = statement["Sid"] in ("BucketPlace", "NewBucket")
            assert owner == (None if before else PSEUDO["AWS::AccountId"]), statement["Sid"]


def test_a_bucket_of_the_user_is_not_changed() -> None:
    """No role can change its properties or reach an object outside of the lake's folders."""
    parameters = {"BucketName": BUCKET}
    changes = {a for a in actions(*POLICIES, **parameters) if a.startswith(("s3:Put", "s3:Delete", "s3:Create"))}
    assert changes == {"s3:PutObject", "s3:PutObjectAcl", "s3:DeleteObject", "s3:DeleteObjectVersion"}
    for action in ("s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:DeleteObjectVersion"):
        for key in ("hr/salaries.csv", "dynamodb", "dynamodb-other/x", "aws/other/x"):
            assert not reaches(f"arn:aws:s3:::{BUCKET}/{key}", action, *POLICIES, **parameters)


def test_the_stacks_roles_can_only_reach_the_folders_of_capture() -> None:
    allowed = {f"{OWN_BUCKET}/{key}" for key in ("dynamodb/json/*", "dynamodb-errors/*/*", "aws/lambda/*")}
    for statement, action in granted(("Boundary",)):
        if action in ("s3:GetObject", "s3:PutObject"):
            assert all(any(fnmatchcase(r, a) for a in allowed) for r in statement["Resource"])
    assert not reaches(f"{OWN_BUCKET}/dynamodb/parquet/T/x", "s3:PutObject", "Boundary")
    assert not reaches(f"{OWN_BUCKET}/dynalake-code/x.zip", "s3:GetObject", "Boundary")


@pytest.mark.parametrize("may", ["true", "false"])
def test_roles_without_the_right_to_delete_data_cannot_delete_any(may: str) -> None:
    """Raw objects, versions, and the bucket's lifecycle and versioning are kept; derived files may be deleted."""
    parameters = {"MayDeleteData": may}
    yes = may == "true"
    raw, snapshot = (f"{OWN_BUCKET}/dynamodb/json/T/dt={day}/x.gz" for day in ("20190525", "00000000"))
    assert reaches(raw, "s3:DeleteObject", *POLICIES, **parameters) == yes
    assert ("s3:DeleteObjectVersion" in actions(*POLICIES, **parameters)) == yes
    assert ("glue:DeleteTable" in actions(*POLICIES, **parameters)) == yes
    kept = ("PutLifecycleConfiguration", "PutBucketVersioning", "PutBucketPolicy", "DeleteBucketPolicy")
    for action in (f"s3:{name}" for name in kept):
        assert (action in actions(*POLICIES, **parameters)) == yes
    for key in ("dynamodb/parquet/T/changes/x", "dynamodb/orc/T/x", "dynamodb-state/T/x", "aws/lambda/x"):
        assert reaches(f"{OWN_BUCKET}/{key}", "s3:DeleteObject", *DAGS, **parameters)
    assert reaches(snapshot, "s3:DeleteObject", *DAGS, **parameters)
    job = Resolved("spark", Environment=ENVIRONMENT, **parameters).inline("Role")
    deletes = [r for s in job if "s3:DeleteObject" in s["Action"] for r in s["Resource"]]
    assert any(fnmatchcase(raw, r) for r in deletes) == yes
    assert any(fnmatchcase(snapshot, r) for r in deletes)


def test_tables_are_changed_only_where_requested() -> None:
    defaults = Resolved("airflow", Environment=ENVIRONMENT)
    default = {action for name in DAGS for statement in defaults.policy(name) for action in statement["Action"]}
    assert "dynamodb:UpdateTable" not in default
    assert {"dynamodb:UpdateTable", "dynamodb:UpdateContinuousBackups"} <= actions(*DAGS)


def test_roles_are_created_only_with_a_boundary_and_passed_by_exact_name() -> None:
    for statement, action in granted(DEPLOY):
        if action.startswith("iam:") and action != "iam:CreateServiceLinkedRole":
            assert all("*" not in resource for resource in statement["Resource"])
        if action in ("iam:CreateRole", "iam:PutRolePolicy", "iam:DeleteRolePolicy", "iam:PutRolePermissionsBoundary"):
            assert statement["Condition"] == {"StringEquals": {"iam:PermissionsBoundary": "Boundary"}}
        if action == "kms:CreateGrant":
            assert statement["Condition"] == {"Bool": {"kms:GrantIsForAWSResource": "true"}}
