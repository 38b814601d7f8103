"""The DAGs as Airflow loads them, in every supported version of Airflow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

DAGS = Path(__file__).resolve().parents[2] / "dags"


def load_bag() -> Any:
    """Read the repository's DAGs again, and return their bag."""
    try:
        from airflow.dag_processing.dagbag import DagBag
    except ImportError:  # Airflow 3.1
        from airflow.models.dagbag import DagBag as OldDagBag

        make: Any = OldDagBag
        return make(str(DAGS), bundle_path=DAGS)
    return DagBag(str(DAGS), bundle_name="dags-folder", bundle_path=DAGS)


def store_bag(bag: Any) -> None:
    """Store the DAGs in Airflow's database, which their runs need."""
    try:
        from airflow.dag_processing.dagbag import sync_bag_to_db
    except ImportError:  # Airflow 3.1
        from airflow.models.dagbag import sync_bag_to_db  # type: ignore[no-redef]
    sync_bag_to_db(bag, "dags-folder", None)
