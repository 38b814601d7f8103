"""The decorators of tasks: Airflow's, with what all of dynalake's tasks have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from airflow.sdk import get_current_context, task

from dynalake.operators.task.session import guarded

if TYPE_CHECKING:
    from airflow.sdk.bases.decorator import Task, TaskDecorator

LABEL = "{{ label | default(ti.map_index) }}"
"""The `map_index_template` of mapped tasks: the UI shows their `label`, or their number if they set none."""

P = ParamSpec("P")
R = TypeVar("R")


class _Step:
    """A decorator of Airflow whose task raises errors that Airflow understands (`guarded`)."""

    def __init__(self, decorator: Callable[..., TaskDecorator], **options: Any) -> None:
        self._decorator, self._options = decorator, options

    @overload
    def __call__(self, function: Callable[P, R], /) -> Task[P, R]: ...
    @overload
    def __call__(self, function: None = None, /, **options: Any) -> Callable[[Callable[P, R]], Task[P, R]]: ...
    def __call__(self, function: Callable[P, R] | None = None, /, **options: Any) -> Any:
        def decorate(function: Callable[P, R]) -> Task[P, R]:
            return self._decorator(**self._options | options)(guarded(function))

        return decorate if function is None else decorate(function)


step = _Step(task)
"""Makes a task of a function."""

gate = _Step(task.short_circuit)
"""Makes a task of a function. If it returns nothing (`[]`, `{}`, `False`), the tasks after it are skipped."""

wait = _Step(task.sensor, mode="reschedule", poke_interval=10)
"""Makes a task that waits, without holding a worker, until the function returns `poke`'s result with `is_done`."""


def label(text: str) -> None:
    """Name this instance of a mapped task, whose `map_index_template` is `LABEL`. The last label counts."""
    get_current_context()["label"] = text  # type: ignore[typeddict-unknown-key]
