"""The results of a run, as its note in the Airflow UI.

A task cannot write a note: its API has no such call, and the REST API needs a user's token. The scheduler can, while it
ends the run: it makes the note from what the tasks have pushed. Airflow keeps the XComs of a failed task until it is
tried again, so a failed run has a note too.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from airflow.listeners import hookimpl

from dynalake.errors import cut
from dynalake.operators.task.note_text import Failure, escape, failed_lines, name_tables, note
from dynalake.options.lakes import environment_of
from dynalake.options.where import names_several

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from sqlalchemy.orm import Session

logger = logging.getLogger(__name__)

OUTCOME = "outcome"
"""The key of the XCom with a task's part of the first line, as text, and with links, as Markdown."""
NOTE = "note"
"""The key of the XCom with a task's details below the first line, as Markdown."""
ERROR = "error"
"""The key of the XCom with the error of a task's last try: what was received, what is needed, and what to do."""

_DAGS = "dynalake_"
_PAGE = "/dynalake/"
_REASONS = {
    "timed_out": "it took longer than a run may take. Trigger the DAG again: it continues where this run was",
    "all_tasks_deadlocked": "none of its tasks can run. Look at the states of its tasks",
}
_BY_HAND = "somebody has set its state by hand"


@hookimpl
def on_dag_run_success(dag_run: DagRun, msg: str) -> None:
    """Write the run's note: what the tasks say, then what users wrote there."""
    session = _session(dag_run)
    if session is not None:
        outcomes, texts, links = _told(session, dag_run)
        subject = _subject(dag_run.conf or {})
        ended = "done" if msg == "success" else _BY_HAND
        first = outcomes or [f"{subject}: {ended}" if subject else ended]
        dag_run.note = note(dag_run.note, [*map(escape, first), *texts], links)


@hookimpl
def on_dag_run_failed(dag_run: DagRun, msg: str) -> None:
    """Write the note of a failed run: the first error and what to do, then as `on_dag_run_success`."""
    session = _session(dag_run)
    if session is not None:
        outcomes, texts, links = _told(session, dag_run)
        failures = _failures(session, dag_run)
        lines = failed_lines(_subject(dag_run.conf or {}), failures, _REASONS.get(msg, _BY_HAND))
        dag_run.note = note(dag_run.note, [*map(escape, [*lines, *outcomes]), *texts], links)


def _session(dag_run: DagRun) -> Session | None:
    """Return the database session of one of dynalake's runs."""
    from sqlalchemy.orm import object_session

    return object_session(dag_run) if dag_run.dag_id.startswith(_DAGS) else None


def _told(session: Session, dag_run: DagRun) -> tuple[list[str], list[str], list[str]]:
    """Return what the tasks say came of the run, their details, and their links; the newest outcome first.

    Mapped tasks each have one: they come after the one that speaks for all of them. A single one needs no other.
    """
    outcomes = _xcoms(session, dag_run, OUTCOME)
    mapped = [value for xcom, value in outcomes if xcom.map_index >= 0]
    of_all = [value for xcom, value in outcomes if xcom.map_index < 0][-1:]
    shown = mapped if len(mapped) == 1 else [*of_all, *mapped]
    links = [link for value in shown for link in value["links"]] if len(shown) == 1 else []
    texts = [str(value) for _, value in _xcoms(session, dag_run, NOTE)]
    return [value["text"] for value in shown], texts, [*links, _page(dag_run.dag_id, dag_run.conf or {})]


def _failures(session: Session, dag_run: DagRun) -> list[Failure]:
    """Return the failed tasks, the first one first."""
    from airflow.utils.state import TaskInstanceState

    errors = {(xcom.task_id, xcom.map_index): value for xcom, value in _xcoms(session, dag_run, ERROR)}
    with session.no_autoflush:
        failed = dag_run.get_task_instances(state=[TaskInstanceState.FAILED], session=session)
    failed = sorted(failed, key=lambda ti: (ti.end_date is None, ti.end_date, ti.map_index))
    return [Failure(_name(ti), **errors.get((ti.task_id, ti.map_index), {})) for ti in failed]


def _name(ti: TaskInstance) -> str:
    """Return a task's name; of a mapped one with the label that the UI shows."""
    return ti.task_id if ti.map_index < 0 else f"{ti.task_id} ({ti.rendered_map_index or ti.map_index})"


def _xcoms(session: Session, dag_run: DagRun, key: str) -> list[tuple[XComModel, Any]]:
    """Return the run's XComs of a key and their values, the oldest first."""
    from airflow.models.xcom import XComModel
    from sqlalchemy import select

    query = select(XComModel).filter_by(dag_id=dag_run.dag_id, run_id=dag_run.run_id, key=key)
    with session.no_autoflush:
        xcoms = sorted(session.scalars(query), key=lambda xcom: (xcom.timestamp, xcom.map_index))
    return [(xcom, XComModel.deserialize_value(xcom)) for xcom in xcoms]


def _subject(conf: Mapping[str, Any]) -> str:
    """Return the tables that a run's `conf` names; '' for all tables of a lake. Any value may be in it."""
    tables = conf.get("tables")
    named = [conf["table"]] if "table" in conf else tables if isinstance(tables, list) else []
    return name_tables([cut(str(name)) for name in named])


def _page(dag: str, conf: Mapping[str, Any]) -> str:
    """Return a link to the page of the run's table, or of its lake."""
    from airflow.configuration import conf as configuration

    base = (configuration.get("api", "base_url", fallback="") or "").rstrip("/")
    named = str(conf.get("table") or "")
    table = f"tables/{quote(named, safe='')}" if named and not names_several(named) else ""
    query = urlencode({"environment": conf.get("environment") or environment_of(dag)})
    return f"[Page of the {'table' if table else 'lake'}]({base}{_PAGE}{table}?{query})"
