"""Refusals and temporary failures of AWS, explained so that a person can act."""

from __future__ import annotations

import pytest
from botocore import exceptions
from botocore.exceptions import ClientError

from dynalake.aws.refusals import AWS_ERRORS, explain
from dynalake.errors import AccessError, UnavailableError

ROLE = "arn:aws:sts::123456789012:assumed-role/dynalake-dags/run-1"
TABLE = "arn:aws:dynamodb:eu-west-1:123456789012:table/RECEIPTS"
REFUSED = f"User: {ROLE} is not authorized to perform: dynamodb:DescribeTable on resource: {TABLE}"


def refused(
    message: str = "", *, code: str = "AccessDeniedException", status: int = 400, call: str = "Call"
) -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]
        call,
    )


@pytest.mark.parametrize(
    ("context", "reason", "action"),
    [
        (
            " because no identity-based policy allows the dynamodb:DescribeTable action",
            "to role dynalake-dags.",
            f"allow dynamodb:DescribeTable on {TABLE} in a policy of role dynalake-dags",
        ),
        ("", "to role dynalake-dags.", f"allow dynamodb:DescribeTable on {TABLE} in a policy of role dynalake-dags"),
        (
            " because no permissions boundary allows the dynamodb:DescribeTable action",
            "no permissions boundary allows it",
            "in the permissions boundary, which bounds what role dynalake-dags may do",
        ),
        (
            " because no session policy allows the dynamodb:DescribeTable action",
            "no session policy allows it",
            "in the session policy",
        ),
        (
            " with an explicit deny in a service control policy: arn:aws:organizations::1:policy/o-1/p-1",
            "explicit deny in its service control policy",
            "change that service control policy",
        ),
        (
            " with an explicit deny in an identity-based policy",
            "explicit deny in its identity-based policy",
            "change that",
        ),
    ],
)
def test_a_refusal_names_caller_action_resource_reason_and_remedy(context: str, reason: str, action: str) -> None:
    error = explain(refused(REFUSED + context), "aws_default")
    assert isinstance(error, AccessError)
    assert str(error).startswith(f"AWS refuses dynamodb:DescribeTable on {TABLE} to role dynalake-dags")
    assert reason in str(error)
    assert error.allowed == f"the permission dynamodb:DescribeTable on {TABLE} for role dynalake-dags"
    assert action in error.action
    assert error.ids == {
        "connection": "aws_default",
        "permission": "dynamodb:DescribeTable",
        "resource": TABLE,
        "principal": ROLE,
    }


@pytest.mark.parametrize(
    ("who", "named"),
    [
        ("arn:aws:iam::123456789012:user/etl/airflow", "user airflow"),
        ("arn:aws:sts::123456789012:assumed-role/dags/i-0123", "role dags"),
        ("arn:aws-cn:iam::123456789012:role/service/dags", "role dags"),
        ("arn:aws:iam::123456789012:root", "arn:aws:iam::123456789012:root"),
    ],
)
def test_the_refused_caller_is_named(who: str, named: str) -> None:
    error = explain(refused(f'{who} is not authorized to perform: s3:PutObject on resource: "arn:aws:s3:::lake/a b"'))
    assert error is not None
    assert error.received == f"AWS refuses s3:PutObject on arn:aws:s3:::lake/a b to {named}"


def test_no_wildcard_is_suggested_if_the_service_does_not_name_the_resource() -> None:
    error = explain(
        refused(f"User: {ROLE} is not authorized to perform: athena:GetWorkGroup because no identity-based")
    )
    assert error is not None
    assert error.received == "AWS refuses athena:GetWorkGroup to role dynalake-dags"
    assert error.action.startswith("allow athena:GetWorkGroup in a policy of role dynalake-dags; ")


def test_a_role_that_cannot_be_assumed_needs_a_trust_policy() -> None:
    may_not = "is not authorized to perform: sts:AssumeRole on resource:"
    message = f"User: arn:aws:iam::1:user/airflow {may_not} arn:aws:iam::1:role/dags"
    error = explain(refused(message, code="AccessDenied", status=403, call="AssumeRole"))
    assert isinstance(error, AccessError)
    assert "name user airflow in its trust policy (TrustedPrincipalArns" in error.action


@pytest.mark.parametrize(
    ("call", "code", "permission"),
    [
        ("HeadObject", "403", "s3:GetObject"),
        ("HeadBucket", "403", "s3:ListBucket"),
        ("ListObjectsV2", "AccessDenied", "s3:ListBucket"),
        ("GetDatabase", "AccessDeniedException", "GetDatabase"),
    ],
)
def test_a_refusal_without_a_reason_still_names_the_permission(call: str, code: str, permission: str) -> None:
    error = explain(refused("Access Denied", code=code, status=403, call=call))
    assert isinstance(error, AccessError)
    assert error.allowed == f"the permission {permission} for the role of the AWS connection"
    assert call in error.received


@pytest.mark.parametrize(
    ("message", "what"),
    [
        ("Insufficient Lake Formation permission(s): Required Describe on receipts", "Describe on receipts"),
        ("Insufficient Lake Formation permission(s): Required Create Table on lake", "Create Table on lake"),
        ("Insufficient Lake Formation permission(s) on receipts", "a permission that it does not name"),
    ],
)
def test_a_refusal_by_lake_formation_is_not_blamed_on_iam(message: str, what: str) -> None:
    """https://docs.aws.amazon.com/lake-formation/latest/dg/lake-formation-troubleshooting.html"""
    error = explain(refused(message, call="GetTable"))
    assert isinstance(error, AccessError)
    assert error.received == f"Lake Formation refuses GetTable: {what} is not granted"
    assert "lake_formation_writer_arn" in error.action
    assert "airflow.yaml" not in error.action


@pytest.mark.parametrize(
    ("raised", "says"),
    [
        (
            refused("The security token included in the request is expired", code="ExpiredTokenException"),
            "have expired",
        ),
        (refused(code="ExpiredToken", status=400), "have expired"),
        (refused("The security token is invalid", code="UnrecognizedClientException"), "are not known to AWS"),
        (refused(code="InvalidAccessKeyId", status=403), "are not known to AWS"),
        (refused(code="SignatureDoesNotMatch", status=403), "are not known to AWS"),
        (exceptions.NoCredentialsError(), "cannot be loaded: Unable to locate credentials"),
        (exceptions.PartialCredentialsError(provider="env", cred_var="AWS_SECRET_ACCESS_KEY"), "cannot be loaded"),
        (exceptions.NoRegionError(), "has no region"),
    ],
)
def test_unusable_credentials_are_reported(raised: Exception, says: str) -> None:
    error = explain(raised, "aws_default")
    assert isinstance(error, AccessError)
    assert says in str(error)
    assert error.action


@pytest.mark.parametrize(
    "raised",
    [
        refused("Rate exceeded", code="ThrottlingException"),
        refused(code="SlowDown", status=503),
        refused(code="Anything", status=429),
        refused(code="InternalError", status=500),
        refused(code="ServiceUnavailable", status=503),
        exceptions.EndpointConnectionError(endpoint_url="https://example"),
        exceptions.ReadTimeoutError(endpoint_url="https://example"),
        exceptions.ConnectionClosedError(endpoint_url="https://example"),
    ],
)
def test_errors_that_may_go_away_are_transient(raised: Exception) -> None:
    assert isinstance(explain(raised), UnavailableError)


@pytest.mark.parametrize(
    "raised",
    [refused("no such table", code="ResourceNotFoundException"), refused(code="404", status=404), ValueError("other")],
)
def test_other_errors_are_left_unchanged(raised: Exception) -> None:
    assert explain(raised) is None


def test_every_error_of_boto3_is_covered() -> None:
    for error in (refused(), exceptions.NoCredentialsError(), exceptions.ReadTimeoutError(endpoint_url="x")):
        assert isinstance(error, AWS_ERRORS)
