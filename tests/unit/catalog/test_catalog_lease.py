"""Who changes what a table shows: one at a time, and nobody for ever."""

from __future__ import annotations

import hashlib
import io
import json
import random
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


class Turns:
    """Threads that go on one at a time, and a clock for them: who waits for what, and how long it takes, is drawn."""

    def __init__(self, draw: random.Random) -> None:
        self.now = 0.0
        self._draw = draw
        self._due: dict[threading.Thread, tuple[float, float]] = {}
        self._go: dict[threading.Thread, threading.Semaphore] = {}
        self._stopped = threading.Semaphore(0)
        self._errors: list[BaseException] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        """The others' turn, until these seconds have passed, or more."""
        self._wait(seconds)
        self._stopped.release()
        self._go[threading.current_thread()].acquire()

    def run(self, works: list[Callable[[], None]]) -> None:
        """All of them to their ends. Raises what the first of them raised."""
        threads = [threading.Thread(target=self._work, args=(work,), daemon=True) for work in works]
        for thread in threads:
            self._go[thread] = threading.Semaphore(0)
            self._wait(0.0, thread)
            thread.start()
        while self._due and not self._errors:
            thread = min(self._due, key=self._due.__getitem__)
            self.now = max(self.now, self._due.pop(thread)[0])
            self._go[thread].release()
            self._stopped.acquire()
        if self._errors:
            raise self._errors[0]

    def _wait(self, seconds: float, thread: threading.Thread | None = None) -> None:
        more = self._draw.choice([0.0] * 30 + [0.1, 0.5, 1.0, 3.0, 9.0])
        self._due[thread or threading.current_thread()] = self.now + seconds + more, self._draw.random()

    def _work(self, work: Callable[[], None]) -> None:
        self._go[threading.current_thread()].acquire()
        try:
            work()
        except BaseException as error:
            self._errors.append(error)
        self._stopped.release()


class OneObject:
    """S3 with one object. Each call is one step, and now and then an answer is lost, so that boto3 asks again."""

    def __init__(self, turns: Turns) -> None:
        self.body: bytes | None = None
        self.puts = 0
        self.asked_at: dict[str, float] = {}
        """When each holder asked last for what was then put."""
        self._turns = turns

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:
        self._turns.sleep(0.0)
        if self.body is None:
            raise _error("NoSuchKey")
        return {"ETag": self._etag, "Body": io.BytesIO(self.body)}

    def put_object(self, *, Body: bytes, IfMatch: str = "", IfNoneMatch: str = "", **_: str) -> dict[str, Any]:
        asked = self._turns.now
        for lost in [True] * (self.puts % 7 == 3) + [False]:
            self._turns.sleep(0.0)
            if (IfNoneMatch and self.body is not None) or (IfMatch and self._etag != IfMatch):
                if lost:
                    continue
                raise _error("PreconditionFailed")
            self.body, self.puts = Body, self.puts + 1
            self.asked_at[json.loads(Body)["holder"]] = asked
        return {"ETag": self._etag}

    @property
    def _etag(self) -> str:
        return hashlib.md5(self.body or b"").hexdigest()


def _error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": ""}}, "PutObject")


def test_one_at_a_time_whoever_comes_between(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between any two calls to S3 the others may go on, and time may pass, also too much of it."""
    monkeypatch.setattr(lease, "SECONDS", 8.0)
    monkeypatch.setattr(lease, "PATIENCE", 10_000.0)
    renewed = lost = late = 0
    for seed in range(150):
        draw = random.Random(seed)
        turns = Turns(draw)
        s3 = OneObject(turns)
        monkeypatch.setattr(lease, "time", turns)
        holder: Lease | None = None

        def work(draw: random.Random = draw, turns: Turns = turns, s3: OneObject = s3) -> None:
            nonlocal holder, renewed, lost, late
            with changing(Clients(lambda service: s3), NAMES) as mine:
                holder = mine
                for _ in range(draw.randint(1, 8)):
                    turns.sleep(draw.choice([0.0, 1.0, 3.0, 6.0]))
                    before, silent = s3.puts, turns.now - s3.asked_at[mine._holder]
                    try:
                        mine.check()
                    except ConflictError:
                        assert turns.now - s3.asked_at[mine._holder] >= lease.SECONDS, "it was never silent for so long"
                        lost, late = lost + (holder is not mine), late + (holder is mine)
                        break
                    assert holder is mine, "another has taken it"
                    assert silent < lease.SECONDS, "it was silent for too long"
                    renewed += s3.puts > before
            holder = None if holder is mine else holder

        turns.run([work] * 4)
        assert s3.body == b'{"holder": ""}\n'
    assert min(renewed, lost, late) > 20, "each of them must have been met"


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
