"""The same work for each of many tables, so that a fault in one does not stop the others.

Any error for one table is kept until the others are done. It then fails a task of that table, or the end of the run,
by name (`check_faults`). An error of the connection concerns every table, and is raised at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from airflow.sdk import get_current_context

from dynalake.errors import DynalakeError, TerminalError, TransientError

logger = logging.getLogger(__name__)

FAULTS = "faults"
"""Key of the XCom with a task's faults, by table."""

AT_ONCE = 8
"""Tables that are worked on at once: the work is mostly waiting for S3 and Glue. A client has 10 connections."""

R = TypeVar("R")


def each_table(tables: Iterable[str], work: Callable[[str], R], doing: str) -> dict[str, R]:
    """Return the result of `work` for each table. A table for which it raises is left out, and kept as a fault.

    Threads call `work`, so the clients that it uses must have been made. `doing` completes the message of a fault:
    `planned`. If a fault may pass and the task has tries left, the task fails after the other tables; Airflow retries
    it, and `work` is called for all tables again.
    """
    done: dict[str, R] = {}
    faults: dict[str, str] = {}
    passing: list[str] = []
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        for table, doing_it in [(table, pool.submit(work, table)) for table in tables]:
            try:
                done[table] = doing_it.result()
            # An unexpected fault must not stop the other tables either.
            except Exception as error:
                explained = _explain(error)
                faults[table] = f"{table} cannot be {doing}: {type(explained).__name__}: {explained}"
                if isinstance(explained, TransientError):
                    passing.append(table)
                logger.error("%s", faults[table], exc_info=None if isinstance(explained, DynalakeError) else error)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # Airflow's time limit waits for no call
    context = get_current_context()
    if passing and context["ti"].try_number <= context["ti"].max_tries:
        raise TransientError("; ".join(faults[table] for table in passing))
    if faults:
        context["ti"].xcom_push(FAULTS, faults)
    return done


def faults_of(tasks: Iterable[str]) -> dict[str, list[str]]:
    """Return the faults of these tasks of the run, by table."""
    by_table: dict[str, list[str]] = {}
    for faults in get_current_context()["ti"].xcom_pull(task_ids=[*tasks], key=FAULTS):
        for table, fault in (faults or {}).items():
            by_table.setdefault(table, []).append(fault)
    return by_table


def check_faults(faults: Iterable[str]) -> None:
    """Raise `TerminalError` with these faults, if there are any."""
    if listed := "; ".join(faults):
        raise TerminalError(
            listed, action="see the log of the failed task, repair the cause, and trigger the DAG again"
        )


def _explain(error: Exception) -> Exception:
    """Return the error, translated to one of dynalake's if possible. Raise an error of the connection."""
    from dynalake.aws.refusals import AWS_ERRORS, explain, is_of_connection

    if is_of_connection(error):
        raise error
    return (explain(error) if isinstance(error, AWS_ERRORS) else None) or error
