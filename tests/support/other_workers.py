"""Workers that behave like other processes: all data passes through pickle. They run here, in any order."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from dynalake.aws.clients import Clients
from dynalake.lake.working.workers import Outcome, Workers, attempt

T = TypeVar("T")
R = TypeVar("R")


class OtherWorkers(Workers):
    """Takes all parts together, does the last one first and some twice, as Spark may."""

    at_once = 8
    part_bytes = 1

    def __init__(self, clients: Clients) -> None:
        self.clients = clients
        self.done = 0

    def attempt_each(self, work: Callable[[T], R], parts: Iterable[T]) -> Iterator[Outcome[R]]:
        sent = [self._send((work, part)) for part in parts]
        results: list[bytes] = []
        for number, body in reversed([*enumerate(sent)]):
            for _ in range(1 + number % 2):
                function, part = self._receive(body)
                result = self._send(attempt(function, part))
            results.insert(0, result)
            self.done += 1
        return map(self._receive, results)

    def _send(self, value: object) -> bytes:
        body = io.BytesIO()
        _Pickler(body, self.clients).dump(value)
        return body.getvalue()

    def _receive(self, body: bytes) -> Any:
        return _Unpickler(io.BytesIO(body), self.clients).load()


class _Pickler(pickle.Pickler):
    """Omits the clients: the lake is in this process's memory."""

    def __init__(self, body: io.BytesIO, clients: Clients) -> None:
        super().__init__(body)
        self._clients = clients

    def persistent_id(self, obj: object) -> str | None:
        return "clients" if obj is self._clients else None


class _Unpickler(pickle.Unpickler):
    def __init__(self, body: io.BytesIO, clients: Clients) -> None:
        super().__init__(body)
        self._clients = clients

    def persistent_load(self, pid: object) -> Clients:
        return self._clients
