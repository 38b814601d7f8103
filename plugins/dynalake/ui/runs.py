"""Airflow's own part of the page: the last runs about a table, and what a user may see and start.

The API server reads its own database. A user sees the runs of the DAGs that Airflow would show them, and no others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session
from sqlalchemy import select

from dynalake.days import milliseconds
from dynalake.options.lakes import dag_of, environment_of
from dynalake.ui.links import log_page, run_page

DAGS = ("setup", "backfill", "convert", "compact", "redrive", "watch", "certify", "teardown")
SEARCHED, SHOWN = 30, 2
"""Runs of each DAG that are searched for the table's, and that are shown."""


@dataclass(frozen=True)
class Run:
    """A run about a table: `page` and `log` are addresses below Airflow's root; `log_of` names the task."""

    dag: str
    state: str
    tone: str
    started: int | None
    seconds: float | None
    how: str
    page: str
    log: str = ""
    log_of: str = ""


@dataclass(frozen=True)
class Schedule:
    """A DAG's next run (milliseconds), and whether it is paused; `known`: whether Airflow has it."""

    known: bool = False
    paused: bool = False
    next_at: int | None = None


TONES = {"success": "good", "failed": "bad", "running": "plain", "queued": "plain"}


def details_of(dag: str) -> DagDetails:
    """Return a DAG as Airflow's own routes do: with its team, if Airflow has teams."""
    if "team_name" not in {field.name for field in fields(DagDetails)}:
        return DagDetails(id=dag)
    return DagDetails(id=dag, team_name=DagModel.get_team_name(dag))


def read_schedule(dag: str) -> Schedule:
    """Return when a DAG runs next."""
    with create_session() as session:
        model = session.get(DagModel, dag)
        if model is None:
            return Schedule()
        return Schedule(True, bool(model.is_paused), _ms(model.next_dagrun_create_after))


def dags_of(environment: str) -> list[str]:
    """Return the ids of the DAGs that work on a lake."""
    return [dag_of(name, environment) for name in DAGS]


def read_startable(user: Any, environment: str) -> dict[str, bool]:
    """Return the lake's DAGs of which the user may start runs, and whether each is paused."""
    manager = get_auth_manager()
    allowed = [
        dag
        for dag in dags_of(environment)
        if manager.is_authorized_dag(
            method="POST", access_entity=DagAccessEntity.RUN, details=details_of(dag), user=user
        )
    ]
    with create_session() as session:
        found = session.execute(select(DagModel.dag_id, DagModel.is_paused).where(DagModel.dag_id.in_(allowed)))
        paused = {dag: bool(is_paused) for dag, is_paused in found}
    return {dag: paused.get(dag, False) for dag in allowed}


def read_runs(user: Any, environment: str, table: str) -> tuple[Run, ...]:
    """Return the last runs about a table that the user may see, the latest first."""
    manager = get_auth_manager()
    runs: list[Run] = []
    with create_session() as session:
        for dag in dags_of(environment):
            if not manager.is_authorized_dag(
                method="GET", access_entity=DagAccessEntity.RUN, details=details_of(dag), user=user
            ):
                continue
            query = select(DagRun).where(DagRun.dag_id == dag).order_by(DagRun.run_after.desc()).limit(SEARCHED)
            found = [r for r in session.scalars(query) if concerns(dag, r.conf or {}, environment, table)][:SHOWN]
            columns: Any = (
                TaskInstance.run_id,
                TaskInstance.task_id,
                TaskInstance.map_index,
                TaskInstance.state,
                TaskInstance.rendered_map_index,
            )
            query_tasks = select(*columns).where(
                TaskInstance.dag_id == dag, TaskInstance.run_id.in_([r.run_id for r in found])
            )
            tasks = [TaskRow(*row) for row in session.execute(query_tasks)] if found else []
            runs += [_run(r, choose_log((t for t in tasks if t.run == r.run_id), table)) for r in found]
    return tuple(sorted(runs, key=lambda run: -(run.started or 1 << 62)))


@dataclass(frozen=True)
class TaskRow:
    """A task of a run; `label`: that of a mapped one, such as `RECEIPTS: ok`."""

    run: str
    task: str
    map_index: int
    state: str | None
    label: str | None


def concerns(dag: str, conf: Mapping[str, Any], environment: str, table: str) -> bool:
    """Return whether a run is about a table: by its own name, or as one of all tables of the lake (pure)."""
    if conf.get("environment", environment_of(dag)) != environment:
        return False
    if "table" in conf:
        return bool(conf["table"] == table)
    tables = conf.get("tables") or ()
    return not tables or table in tables


def choose_log(tasks: Iterable[TaskRow], table: str) -> TaskRow | None:
    """Return the task whose log says most about the table: a failed one of it, or of all; else the table's own."""
    rows = list(tasks)
    own = [t for t in rows if t.label and (t.label == table or t.label.startswith((f"{table}:", f"{table} ")))]
    others = [t for t in rows if not t.label]
    for chosen in ([t for t in own if t.state == "failed"], own, [t for t in others if t.state == "failed"]):
        if chosen:
            return chosen[0]
    return None


def _run(run: Any, log: TaskRow | None) -> Run:
    started, ended = _ms(run.start_date), _ms(run.end_date)
    state = str(getattr(run.state, "value", run.state))
    return Run(
        run.dag_id,
        state,
        TONES.get(state, "plain"),
        started,
        None if started is None or ended is None else (ended - started) / 1000,
        f"by {run.triggering_user_name}" if run.triggering_user_name else str(run.run_type),
        run_page(run.dag_id, run.run_id),
        "" if log is None else log_page(run.dag_id, run.run_id, log.task, log.map_index),
        "" if log is None else log.task,
    )


def _ms(at: datetime | None) -> int | None:
    return None if at is None else milliseconds(at)
