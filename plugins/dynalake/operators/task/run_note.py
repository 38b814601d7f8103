"""The results of a run, as its note in the Airflow UI.

A task cannot write a note: its API has no such call, and the REST API needs a user's token. The scheduler can, while it
ends the run: it makes the note from the texts that the tasks have pushed under `NOTE`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from airflow.listeners import hookimpl

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun

logger = logging.getLogger(__name__)

NOTE = "note"
"""The key of the XCom that becomes the run's note."""
LIMIT = 1000
"""Most characters of a note: the width of Airflow's column, which PostgreSQL enforces."""
_DAGS = "dynalake_"
_MARK = "— written by the run —"


@hookimpl
def on_dag_run_success(dag_run: DagRun, msg: str) -> None:
    """Add the tasks' texts to the run's note, after anything that a user wrote there."""
    from airflow.models.xcom import XComModel
    from sqlalchemy.orm import object_session

    session = object_session(dag_run) if dag_run.dag_id.startswith(_DAGS) else None
    if session is None:
        return
    query = XComModel.get_many(key=NOTE, dag_ids=dag_run.dag_id, run_id=dag_run.run_id)
    with session.no_autoflush:
        xcoms = session.scalars(query).all()
    texts = [str(XComModel.deserialize_value(xcom)) for xcom in xcoms]
    if texts:
        dag_run.note = note(dag_run.note, texts)


def note(before: str | None, texts: list[str]) -> str:
    """Return the new note, cut to `LIMIT` (pure)."""
    own = (before or "").split(_MARK)[0].rstrip()
    return "\n".join([*([own, ""] if own else []), _MARK, *texts])[:LIMIT]
