"""Several concurrent runs, one call to AWS at a time, in an order set by a seed, with kills and lost answers."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import greenlet  # type: ignore[import-untyped]  # Airflow brings it
import pytest
from botocore.exceptions import ReadTimeoutError
from pyiceberg.manifest import ManifestFile, clear_manifest_cache

from dynalake.lake.catalog.commit import commit_on
from tests.support.kills import Killed
from tests.support.memory.aws import MemoryGlue, error

LOSE, DROP, LATE, THROTTLE = "lose", "drop", "late", "throttle"
"""Possible outcomes of an update of Glue: it lands and its answer is lost; it does not land; it lands later; it is
refused before it begins."""


@dataclass(eq=False)
class Worker:
    """A run that advances call by call. `outcome` is its result or exception; `killed` counts as neither."""

    name: str
    run: Any
    killed: bool = False
    asleep_until: float = 0.0
    returned: Any = None
    raised: Exception | None = None
    calls: list[str] = field(default_factory=list)


class Steps:
    """Switches between workers at each call. Calls of a worker's own threads are not steps: they only read."""

    def __init__(self, seed: int, glue: MemoryGlue) -> None:
        self.random = random.Random(seed)
        self.workers: list[Worker] = []
        self.faults: Callable[[Worker], str] = lambda worker: ""
        self._glue = glue
        self._by_greenlet: dict[Any, Worker] = {}
        self._main = greenlet.getcurrent()

    def start(self, name: str, function: Callable[[], Any]) -> Worker:
        worker = Worker(name, None)

        def body() -> None:
            try:
                worker.returned = function()
            except Killed:
                pass
            except Exception as raised:
                worker.raised = raised

        worker.run = greenlet.greenlet(body, self._main)
        self._by_greenlet[worker.run] = worker
        self.workers.append(worker)
        return worker

    def advance(self, worker: Worker) -> None:
        """Run a worker up to its next call, or to its end."""
        worker.run.switch()
        self._forget(worker)

    def kill(self, worker: Worker) -> None:
        worker.killed = True
        if worker.run.dead or not worker.run:
            worker.run.throw(greenlet.GreenletExit)
        else:
            worker.run.throw(Killed)
        self._forget(worker)

    def finish(self, worker: Worker) -> Worker:
        """Run a worker to its end."""
        while worker in self.workers:
            self.advance(worker)
        return worker

    def on_call(self, service: str, call: str, request: dict[str, Any]) -> None:
        """Switch workers; the fakes call this before each call."""
        worker = self._by_greenlet.get(greenlet.getcurrent())
        if worker is None:
            return
        if worker.killed:
            raise Killed
        worker.calls.append(f"{service}.{call} {request.get('Key', request.get('Prefix', request.get('Name', '')))}")
        self._main.switch()
        if worker.killed:
            raise Killed
        if call == "update_table":
            self._maybe_fail(worker, request)

    def _maybe_fail(self, worker: Worker, request: dict[str, Any]) -> None:
        fault = self.faults(worker)
        if fault == THROTTLE:
            raise error("ThrottlingException", "UpdateTable", 400)
        if fault == LOSE:
            self._glue.update(request)
        elif fault == LATE:
            self._glue.late.append(request)
        if fault in (LOSE, DROP, LATE):
            raise ReadTimeoutError(endpoint_url="https://glue")

    def _forget(self, worker: Worker) -> None:
        if worker.run.dead:
            self.workers.remove(worker)
            del self._by_greenlet[worker.run]


def land(glue: MemoryGlue, place: int = 0) -> bool:
    """Deliver a pending call. Return whether Glue accepted it."""
    request = glue.late.pop(place)
    try:
        glue.update(request)
    except glue.exceptions.ConcurrentModificationException:
        return False
    return True


def use_seed(patch: pytest.MonkeyPatch, seed: int) -> None:
    """Derive the names of folders and files from a seed, and skip all pauses."""
    numbers = random.Random(seed)
    clear_manifest_cache()  # it is keyed by names, which repeat with the seed
    options: Any = commit_on.__kwdefaults__
    patch.setitem(options, "pause", lambda seconds: None)

    def uuid4() -> UUID:
        return UUID(int=numbers.getrandbits(128), version=4)

    entries: dict[str, Any] = {}
    read = ManifestFile.fetch_manifest_entry

    def read_once(self: ManifestFile, io: Any, discard_deleted: bool = True) -> Any:
        """Read each manifest once in a test: it never changes, and reading takes most of the time."""
        key = f"{self.manifest_path} {discard_deleted}"
        if key not in entries:
            entries[key] = read(self, io, discard_deleted)
        return entries[key]

    patch.setattr(ManifestFile, "fetch_manifest_entry", read_once)
    for place in ("uuid.uuid4", "dynalake.lake.files.folders.uuid4", "dynalake.lake.files.parts.uuid4"):
        patch.setattr(place, uuid4)
