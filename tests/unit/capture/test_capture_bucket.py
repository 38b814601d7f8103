"""The region of the lake's bucket."""

from __future__ import annotations

from typing import Any

import boto3
import pytest

from dynalake.aws.clients import Clients
from dynalake.capture.lake.bucket import bucket_region


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1", "EU", "eu-central-1"])
def test_a_bucket_has_a_region_or_does_not_exist(mocked: boto3.Session, region: str) -> None:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketLocation.html"""
    clients = Clients.of(mocked)
    assert bucket_region(clients, "somewhere") == ""
    place: Any = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    clients.s3.create_bucket(Bucket="somewhere", **place)
    assert bucket_region(clients, "somewhere") == {"EU": "eu-west-1"}.get(region, region)
