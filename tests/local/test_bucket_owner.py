"""A bucket's owner and region: requests that expect an owner, conditions on the account, and HeadBucket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from infra.local.run.process import LocalAws
from tests.local.roles import ACCOUNT, document, role, taking

STRANGER = "999999999999"


@pytest.fixture(scope="module")
def foreign(enforced: LocalAws) -> str:
    """A bucket of another account, which lets this account do anything with it."""
    session: Any = boto3.Session(STRANGER, enforced.key, enforced.key, region_name="us-east-1")
    s3, bucket = session.client("s3", endpoint_url=enforced.endpoint_url), "of-a-stranger"
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="code.zip", Body=b"theirs")
    resources = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
    principal = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
    allow = {"Effect": "Allow", "Principal": principal, "Action": "s3:*", "Resource": resources}
    s3.put_bucket_policy(Bucket=bucket, Policy=document([allow]))
    return bucket


def test_a_request_may_expect_an_owner_of_the_bucket(root: Callable[[str], Any], foreign: str) -> None:
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-owner-condition.html"""
    s3 = root("s3")
    s3.create_bucket(Bucket="of-ours")
    calls: list[Callable[..., Any]] = [
        lambda **owner: s3.head_bucket(Bucket=foreign, **owner),
        lambda **owner: s3.list_objects_v2(Bucket=foreign, **owner),
        lambda **owner: s3.get_object(Bucket=foreign, Key="code.zip", **owner),
        lambda **owner: s3.put_object(Bucket=foreign, Key="x", Body=b"", **owner),
        lambda **owner: s3.delete_object(Bucket=foreign, Key="x", **owner),
    ]
    for call in calls:
        assert call(ExpectedBucketOwner=STRANGER)
        with pytest.raises(ClientError, match=r"403|AccessDenied"):
            call(ExpectedBucketOwner=ACCOUNT)
    s3.put_object(Bucket="of-ours", Key="x", Body=b"")
    copied: dict[str, Any] = {"Bucket": "of-ours", "Key": "y", "CopySource": {"Bucket": "of-ours", "Key": "x"}}
    s3.copy_object(**copied, ExpectedBucketOwner=ACCOUNT, ExpectedSourceBucketOwner=ACCOUNT)
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.copy_object(**copied, ExpectedSourceBucketOwner=STRANGER)


@pytest.mark.parametrize("key", ["aws:ResourceAccount", "s3:ResourceAccount"])
def test_a_condition_on_the_account_applies_to_the_owner_of_the_bucket(
    root: Callable[[str], Any], enforced: LocalAws, foreign: str, key: str
) -> None:
    """https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html#condition-keys-resourceaccount"""
    name = key.partition(":")[0]
    only = {"StringEquals": {key: ACCOUNT}}
    trusted = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
    objects = [(action, "arn:aws:s3:::*", only) for action in ("s3:CreateBucket", "s3:PutObject")]
    s3 = taking(root, enforced, role(root, f"own-{name}", trusted, *objects))("s3")
    root("s3").create_bucket(Bucket=f"own-{name}")
    s3.put_object(Bucket=f"own-{name}", Key="x", Body=b"")
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.put_object(Bucket=foreign, Key="x", Body=b"")
    # A bucket that does not exist yet has no owner.
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.create_bucket(Bucket=f"new-{name}")


def test_a_bucket_of_another_region_answers_with_its_region(client: Callable[[str], Any], local_aws: LocalAws) -> None:
    """boto3 follows S3 to the bucket's own region, so the call succeeds; only the response names the region.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadBucket.html
    """
    session: Any = boto3.Session(local_aws.key, local_aws.key, region_name="eu-west-1")
    home = session.client("s3", endpoint_url=local_aws.endpoint_url)
    home.create_bucket(Bucket="far-away", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3 = client("s3")
    assert s3.head_bucket(Bucket="far-away")["BucketRegion"] == "eu-west-1"
    assert s3.get_bucket_location(Bucket="far-away")["LocationConstraint"] == "eu-west-1"
