"""Who changes what a table shows: one at a time, and nobody for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from dynalake.catalog import lease
from dynalake.catalog.lease import Lease, changing
from dynalake.clients import Clients
from dynalake.errors import ConflictError
from dynalake.names import Lake, TableNames

NAMES = Lake("dev", "123456789012", "us-east-1").table("RECEIPTS")


@pytest.fixture
def clients(mocked: boto3.Session) -> Clients:
    made = Clients.of(mocked)
    made.s3.create_bucket(Bucket=NAMES.lake.bucket)
    return made


@pytest.fixture
def names() -> TableNames:
    return NAMES


def test_one_at_a_time(clients: Clients, names: TableNames, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "SECONDS", 2.0)
    # Each call to S3 is one step. With moto it is not, if another thread's turn comes within.
    step = threading.Lock()

    def at_once(call: Callable[..., Any]) -> Callable[..., Any]:
        def locked(**request: Any) -> Any:
            with step:
                return call(**request)

        return locked

    for name in ("get_object", "put_object"):
        monkeypatch.setattr(clients.s3, name, at_once(getattr(clients.s3, name)))
    inside, most, done = 0, 0, []

    def work(number: int) -> None:
        nonlocal inside, most
        with changing(clients, names) as held:
            inside += 1
            most = max(most, inside)
            held.check()
            threading.Event().wait(0.01)
            inside -= 1
            done.append(number)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, sorted(done)) == (1, [0, 1, 2, 3])
    assert clients.s3.get_object(Bucket=names.lake.bucket, Key=names.lease)["Body"].read() == b'{"holder": ""}\n'


def test_a_holder_that_was_killed_is_succeeded_and_does_nothing_more(
    clients: Clients, names: TableNames, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "SECONDS", 0.4)
    killed = Lease(clients, names)
    killed.take()
    with changing(clients, names) as heir:
        heir.check()
        with pytest.raises(ConflictError, match="published by another run"):
            killed.check()
        killed.release()  # it is not its own any more
        monkeypatch.setattr(lease, "SECONDS", 4.0)
        monkeypatch.setattr(lease, "PATIENCE", 0.1)
        with pytest.raises(ConflictError, match="has been published"):
            Lease(clients, names).take()


def test_a_holder_renews_when_it_is_time(clients: Clients, names: TableNames) -> None:
    with changing(clients, names) as held:
        held._since -= lease.SECONDS / 2
        before = clients.s3.head_object(Bucket=names.lake.bucket, Key=names.lease)["ETag"]
        held.check()
        after = clients.s3.head_object(Bucket=names.lake.bucket, Key=names.lease)["ETag"]
        assert after != before
        held.check()
        assert clients.s3.head_object(Bucket=names.lake.bucket, Key=names.lease)["ETag"] == after


def test_a_write_whose_answer_was_lost_is_recognised(
    clients: Clients, names: TableNames, monkeypatch: pytest.MonkeyPatch
) -> None:
    """boto3 sends it again, and S3 answers that the object is another one: it is our own."""
    put = clients.s3.put_object

    def twice(**arguments: Any) -> Any:
        put(**arguments)
        return put(**arguments)

    monkeypatch.setattr(clients.s3, "put_object", twice)
    with changing(clients, names) as held:
        held._since -= lease.SECONDS / 2
        held.check()


def test_what_s3_refuses_otherwise_is_not_hidden(
    clients: Clients, names: TableNames, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: Any) -> Any:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": ""}}, "PutObject")

    monkeypatch.setattr(clients.s3, "put_object", refuse)
    with pytest.raises(ClientError, match="AccessDenied"), changing(clients, names):
        raise AssertionError("not reached")
