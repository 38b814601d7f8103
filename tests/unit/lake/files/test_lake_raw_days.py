"""Listings of raw objects: what readers hide is no raw object."""

from __future__ import annotations

import boto3
import pytest

from dynalake.aws.clients import Clients
from dynalake.aws.s3 import Store
from dynalake.lake.files.raw_days import is_hidden, list_raw


@pytest.mark.parametrize(
    ("key", "hidden"),
    [
        ("a/b/dt=1/1.gz", False),
        ("a/b/dt=1/.1.gz.crc", True),
        ("a/b/dt=1/_SUCCESS", True),
        ("a/b/_temporary/0/1.gz", True),
        ("a/b/.spark-staging/dt=1/1.gz", True),
        ("a/b/dt=1/1_.gz", False),
        ("a/b/dt=1/a.b/c_d", False),
    ],
)
def test_objects_that_other_readers_hide_are_hidden(key: str, hidden: bool) -> None:
    assert is_hidden(key, "a/b/") is hidden
    assert is_hidden(key, "") is hidden
    assert is_hidden(f"_private/{key}", "_private/a/b/") is hidden


def test_a_prefix_may_end_within_a_name() -> None:
    assert not is_hidden("state/dt=1_x", "state/dt=1")
    assert is_hidden("state/dt=1/_x", "state/dt=")


def test_a_listing_omits_hidden_objects(mocked: boto3.Session) -> None:
    clients = Clients.of(mocked)
    clients.s3.create_bucket(Bucket="lake")
    for name in ("1.gz", ".1.gz.crc", "_SUCCESS", "_tmp/2.gz", "run/3.gz", "empty/"):
        clients.s3.put_object(Bucket="lake", Key=f"json/T/dt=1/{name}", Body=b"" if name == "empty/" else b"x")
    assert [o.key for o in list_raw(Store(clients, "lake"), "json/T/")] == ["json/T/dt=1/1.gz", "json/T/dt=1/run/3.gz"]
