"""The DAGs that each lake has for itself: one lake's broken connection, history or pause concerns no other lake."""

from __future__ import annotations

from typing import Any

from dynalake.operators.parameters import form
from dynalake.options.lakes import LakeEntry, dag_of, default_environment, environments
from dynalake.options.option import Options
from dynalake.options.where import Where


def of_lake(lake: LakeEntry, name: str, *kinds: type[Options]) -> dict[str, Any]:
    """Return the arguments of Airflow's `DAG` that differ from lake to lake. `kinds`: the form, besides the lake."""
    several = len(environments()) > 1
    suffix = "" if lake.environment == default_environment() else f" · {lake.environment}"
    return {
        "dag_id": dag_of(name, lake.environment),
        "dag_display_name": f"dynalake · {name}{suffix}",
        "tags": ["dynalake", lake.environment] if several else ["dynalake"],
        "params": form(*kinds, Where, environment=lake.environment),
    }
