"""The DAGs as Airflow loads them, in every version of Airflow that they run on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

DAGS = Path(__file__).resolve().parents[2] / "dags"


def load_bag() -> Any:
    """A bag of the repository's DAGs, read anew."""
    try:
        from airflow.dag_processing.dagbag import DagBag
    except ImportError:  # Airflow 3.1
        from airflow.models.dagbag import DagBag as OldDagBag

        make: Any = OldDagBag
        return make(str(DAGS), bundle_path=DAGS)
    return DagBag(str(DAGS), bundle_name="dags-folder", bundle_path=DAGS)


def store_bag(bag: Any) -> None:
    """Into Airflow's database, without which no DAG runs."""
    try:
        from airflow.dag_processing.dagbag import sync_bag_to_db
    except ImportError:  # Airflow 3.1
        from airflow.models.dagbag import sync_bag_to_db  # type: ignore[no-redef]
    sync_bag_to_db(bag, "dags-folder", None)
