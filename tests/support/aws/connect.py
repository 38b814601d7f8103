"""Clients of local AWS."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from infra.local.run.process import LocalAws


def connect(aws: LocalAws) -> Callable[[str], Any]:
    """Return what makes a boto3 client of the named service that talks to local AWS."""
    import boto3

    # boto3 types `client` by literal service names; the name is a variable here.
    make: Any = boto3.Session(aws.key, aws.key, region_name="us-east-1").client
    return partial(make, endpoint_url=aws.endpoint_url)
