"""Parts of work on Spark's executors: their order, and the handling of errors."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from dynalake.errors import AccessError, ConflictError, NotReadyError
from dynalake.spark.executors import Executors


class Context:
    """Accepts and returns picklable values, as Spark does; the parts run here."""

    defaultParallelism = 3

    def __init__(self) -> None:
        self.slices: list[int] = []
        self._parts: list[bytes] = []
        self._work: bytes = b""

    def parallelize(self, parts: Iterable[Any], slices: int) -> Context:
        self._parts = [pickle.dumps(part) for part in parts]
        self.slices.append(slices)
        return self

    def map(self, work: Callable[[Any], Any]) -> Context:
        self._work = pickle.dumps(work)
        return self

    def collect(self) -> list[Any]:
        work = pickle.loads(self._work)
        return [pickle.loads(pickle.dumps(work(pickle.loads(part)))) for part in self._parts]


DONE: list[int] = []


def work(number: int) -> int:
    DONE.append(number)
    if number == 2:
        raise ConflictError("others were first", action="again", table="T")
    if number == 3:
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "not authorized"}}, "GetTable")
    if number == 4:
        raise UnsentError(lambda: None)
    return number * number


class UnsentError(Exception):
    """An error that cannot be pickled."""


def executors() -> tuple[Executors, Context]:
    context: Any = Context()
    return Executors(context), context


def test_each_part_is_a_task_and_results_keep_the_order_of_parts() -> None:
    workers, context = executors()
    assert list(workers.each(work, iter([1, 5, 6]))) == [1, 25, 36]
    assert list(workers.each(work, [])) == []
    assert context.slices == [3]
    assert (workers.at_once, workers.part_bytes) == (12, 8 << 30)


def test_an_error_is_raised_after_all_parts_are_done() -> None:
    workers, _ = executors()
    DONE.clear()
    results = workers.each(work, [1, 2, 5])
    assert DONE == [1, 2, 5]
    assert next(results) == 1
    with pytest.raises(ConflictError) as raised:
        next(results)
    assert (raised.value.received, raised.value.action, raised.value.ids) == (
        "others were first",
        "again",
        {"table": "T"},
    )


@pytest.mark.parametrize(("part", "kind", "text"), [(3, AccessError, "GetTable"), (4, NotReadyError, "UnsentError")])
def test_an_error_that_cannot_be_pickled_becomes_one_of_dynalake(part: int, kind: type[Exception], text: str) -> None:
    workers, _ = executors()
    with pytest.raises(kind, match=text):
        list(workers.each(work, [part]))
    failed, done = workers.attempt_each(work, [part, 5])
    assert (type(failed.error), done.get()) == (kind, 25)
