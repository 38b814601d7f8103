"""The store: what it answers where an object is missing, was changed, or may not be deleted."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from dynalake.aws.clients import Clients
from dynalake.aws.s3 import Deleted, Store
from dynalake.errors import AccessError, ConflictError, UnavailableError


@pytest.fixture
def store() -> Iterator[Store]:
    with mock_aws():
        s3 = boto3.Session("k", "s", region_name="us-east-1").client("s3")
        s3.create_bucket(Bucket="lake")
        yield Store(Clients(lambda service: s3), "lake")


def test_a_listing_goes_on_beyond_a_thousand_objects(store: Store) -> None:
    for number in range(1001):
        store.write(f"a/{number:04d}", b"x" * (number % 3))
    listed = list(store.list("a/"))
    assert [o.key for o in listed] == [f"a/{n:04d}" for n in range(1001)]
    assert [o.size for o in listed[:4]] == [0, 1, 2, 0]
    assert [o.key for o in store.list("a/", after="a/0998")] == ["a/0999", "a/1000"]
    assert store.first("a/") == listed[0] == store.head("a/0000")
    assert store.delete_all(o.key for o in listed) == 1001
    assert list(store.list("a/")) == []


def test_folders_are_listed_without_what_is_in_them(store: Store) -> None:
    for key in ("a/dt=1/x", "a/dt=1/y", "a/dt=2/x", "a/z"):
        store.write(key, b"")
    assert list(store.folders("a/")) == ["dt=1", "dt=2"]
    assert list(store.folders("b/")) == []


def test_a_missing_object_is_an_answer(store: Store) -> None:
    assert store.read("a") is None
    assert store.read_json("a") is None
    assert store.open("a") is None
    assert store.head("a") is None
    assert store.first("a") is None
    store.delete("a")
    assert store.delete_all(["a"]) == 1


def test_a_range_is_read_of_what_is_there(store: Store) -> None:
    store.write("a", b"0123456789")
    assert store.read_range("a", 2, 4) == b"234"
    assert store.read_range("a", 8, 20) == b"89"
    assert store.read_range("a", 10, 20) is None
    assert store.read_range("b", 0, 1) is None


def test_a_missing_bucket_is_an_error(store: Store) -> None:
    other = Store(store.clients, "other")
    for call in (
        lambda: other.read("a"),
        lambda: other.read_range("a", 0, 1),
        lambda: other.create("a", b""),
        lambda: list(other.list("")),
    ):
        with pytest.raises(ClientError, match="NoSuchBucket"):
            call()


def test_an_object_is_created_once(store: Store) -> None:
    etag = store.create("a", BytesIO(b"1"))
    assert store.create("a", b"2") is None
    assert store.read("a") == (b"1", etag)


def test_a_version_is_replaced_once(store: Store) -> None:
    first = store.write("a", b"1")
    second = store.replace("a", b"2", first)
    assert second is not None
    assert store.replace("a", b"3", first) is None
    assert store.read("a") == (b"2", second)
    store.delete("a")
    assert store.replace("a", b"4", second) is None


def test_another_write_that_is_under_way_refuses_a_condition() -> None:
    class S3:
        def put_object(self, **_: Any) -> Any:
            raise ClientError({"Error": {"Code": "ConditionalRequestConflict", "Message": "409"}}, "PutObject")

    store = Store(Clients(lambda service: S3()), "lake")
    assert store.create("a", b"1") is None
    assert store.replace("a", b"1", "etag") is None


def test_a_stream_is_of_the_version_that_was_listed(store: Store) -> None:
    etag = store.write("a", b"1")
    stream = store.open("a", etag)
    assert stream is not None
    assert stream.read() == b"1"
    store.write("a", b"2")
    with pytest.raises(ConflictError, match="s3://lake/a was replaced"):
        store.open("a", etag)


def test_json_is_written_by_one_and_read_by_all(store: Store) -> None:
    first = store.create_json("a", {"who": "first", "é": 1})
    assert store.create_json("a", {"who": "other"}) == first == store.read_json("a")
    changed = store.replace_json("a", {"who": "changed"}, first)
    assert store.read_json("a") == changed
    for before in (first, None):
        with pytest.raises(ConflictError, match="Somebody else wrote s3://lake/a"):
            store.replace_json("a", {"who": "late"}, before)
    assert store.write_json("a", {"who": "last"}) == store.read_json("a")


def test_only_the_versions_that_were_listed_are_deleted(store: Store) -> None:
    """moto deletes by key alone, so S3's answer stands in for it."""
    for key in "abc":
        store.write(key, b"12345")
    listed = list(store.list(""))
    answer = {"Errors": [{"Key": "b", "Code": "PreconditionFailed"}]}
    sent: list[Any] = []

    class S3:
        def delete_objects(self, Bucket: str, Delete: Any) -> Any:
            sent.append(Delete)
            return answer

    other = Store(Clients(lambda service: S3()), "lake")
    assert other.delete_listed(listed) == Deleted(2, 10, ("b",))
    assert sent == [{"Objects": [{"Key": o.key, "ETag": o.etag} for o in listed], "Quiet": True}]


def test_a_deletion_that_fails_is_tried_again_by_the_task() -> None:
    class S3:
        def delete_objects(self, **_: Any) -> Any:
            return {"Errors": [{"Key": "a", "Code": "SlowDown", "Message": "reduce your rate"}]}

    with pytest.raises(UnavailableError, match="did not delete s3://lake/a: SlowDown"):
        Store(Clients(lambda service: S3()), "lake").delete_all(["a"])


def test_a_refused_deletion_says_what_to_do() -> None:
    class S3:
        def delete_objects(self, **_: Any) -> Any:
            return {"Errors": [{"Key": "a", "Code": "AccessDenied", "Message": "no"}]}

    store = Store(Clients(lambda service: S3()), "lake")
    with pytest.raises(AccessError, match=r"did not delete s3://lake/a: AccessDenied no.*object lock"):
        store.delete_all(["a"])


def test_the_time_is_that_of_s3_and_never_later_than_that_of_this_machine(store: Store) -> None:
    now = datetime.now(UTC)
    assert store.clock(now - timedelta(days=1)) == now - timedelta(days=1)
    assert store.clock(now + timedelta(days=1)) <= now + timedelta(minutes=1)


def test_a_file_becomes_an_object(store: Store, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x" * 100)
    store.upload(tmp_path / "x", "a")
    stored = store.head("a")
    assert stored is not None
    assert store.read("a") == (b"x" * 100, stored.etag)
