"""One broken table, and the others of the run."""

from __future__ import annotations

from collections.abc import Callable
from threading import Barrier, Event
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError, NoRegionError

from dynalake.errors import CatalogError, ConflictError, NameTakenError, TerminalError, TransientError
from dynalake.operators.task import each_table as module
from dynalake.operators.task.each_table import check_faults, each_table, faults_of

try:
    from airflow.sdk.exceptions import AirflowTaskTimeout
except ImportError:  # Airflow 3.1
    from airflow.exceptions import AirflowTaskTimeout  # type: ignore[no-redef]

TABLES = ["A", "B", "C"]


def aws(code: str, status: int = 400) -> ClientError:
    answer: Any = {"Error": {"Code": code, "Message": ""}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "GetTable")


class Task:
    """The used part of a task: its tries and its XComs."""

    def __init__(self, try_number: int = 4) -> None:
        self.try_number, self.max_tries = try_number, 3
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value

    def xcom_pull(self, *, task_ids: list[str], key: str) -> list[Any]:
        return [self.pushed.get(key) if name == "plan" else None for name in task_ids]


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> Task:
    running_task = Task()
    monkeypatch.setattr(module, "get_current_context", lambda: {"ti": running_task})
    return running_task


def broken(error: Exception) -> Callable[[str], str]:
    """Return work that raises for the second table."""

    def work(table: str) -> str:
        if table == "B":
            raise error
        return table.lower()

    return work


@pytest.mark.parametrize(
    "error",
    [
        CatalogError("no table"),
        NameTakenError("taken"),
        KeyError("dynalake.schema"),
        RecursionError("deep"),
        ValueError("not JSON"),
        ZeroDivisionError("what nobody thought of"),
        aws("EntityNotFoundException"),
        aws("AccessDeniedException"),
        ConflictError("changed meanwhile"),
        aws("ThrottlingException"),
        aws("InternalServiceException", 500),
    ],
    ids=lambda error: f"{type(error).__name__}-{getattr(error, 'response', {}).get('Error', {}).get('Code', '')}",
)
def test_no_error_of_one_table_stops_the_others(task: Task, error: Exception) -> None:
    """In the last try, so that transient errors are not tried again."""
    assert each_table(TABLES, broken(error), "planned") == {"A": "a", "C": "c"}
    faults = faults_of(["tables", "plan"])
    assert list(faults) == ["B"]
    assert faults["B"][0].startswith("B cannot be planned: ")
    with pytest.raises(TerminalError, match="B cannot be planned"):
        check_faults(faults["B"])


@pytest.mark.parametrize("error", [ConflictError("changed meanwhile"), aws("ThrottlingException"), aws("X", 503)])
def test_a_transient_error_is_tried_again_until_the_last_try(task: Task, error: Exception) -> None:
    seen = []
    task.try_number = 3

    def work(table: str) -> None:
        seen.append(table)
        broken(error)(table)

    with pytest.raises(TransientError, match="B cannot be planned"):
        each_table(TABLES, work, "planned")
    assert (sorted(seen), task.pushed) == (TABLES, {})


@pytest.mark.parametrize(
    "error",
    [
        NoCredentialsError(),
        NoRegionError(),
        EndpointConnectionError(endpoint_url="https://glue"),
        aws("ExpiredTokenException"),
        aws("UnrecognizedClientException"),
    ],
)
def test_an_error_of_the_connection_is_raised_at_once(task: Task, error: Exception) -> None:
    seen, stopped = [], Event()

    def work(table: str) -> None:
        seen.append(table)
        broken(error)(table)
        if table != "A":
            stopped.wait(60)

    with pytest.raises(type(error)):
        each_table([*TABLES, *(f"T{number:03d}" for number in range(100))], work, "planned")
    stopped.set()
    # It waits for none of those that have begun, and begins no others.
    assert len(seen) <= 2 + module.AT_ONCE


def test_tables_are_worked_on_at_once(task: Task) -> None:
    all_there = Barrier(module.AT_ONCE, timeout=60)
    names = [f"T{number}" for number in range(2 * module.AT_ONCE)]
    assert set(each_table(names, lambda table: all_there.wait() >= 0, "planned").values()) == {True}


def test_a_timeout_stops_the_task(task: Task) -> None:
    """Airflow's time limit is not a fault of the current table."""

    def work(table: str) -> None:
        raise AirflowTaskTimeout

    with pytest.raises(AirflowTaskTimeout):
        each_table(TABLES, work, "planned")


def test_without_a_fault_nothing_is_pushed(task: Task) -> None:
    assert each_table(TABLES, str.lower, "planned") == {"A": "a", "B": "b", "C": "c"}
    assert task.pushed == {}
    assert faults_of(["tables", "plan"]) == {}
    check_faults([])
