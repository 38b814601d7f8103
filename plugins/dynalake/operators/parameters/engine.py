"""The parameters that say what runs on Spark."""

from __future__ import annotations

import os

from airflow.sdk import Param

from dynalake.errors import SettingsError
from dynalake.operators.parameters.which import RUN

ENGINE = "DYNALAKE_ENGINE"
ENGINES = ("arrow", "spark", "auto")


def engine_parameters(work: str) -> dict[str, Param]:
    """Return `engine` and `spark_above_gb`. `work`: whose bytes count. Raise `SettingsError` for an unknown default."""
    default = os.environ.get(ENGINE) or "arrow"
    if default not in ENGINES:
        raise SettingsError(
            f"The environment variable {ENGINE} is {default!r}",
            allowed=", ".join(ENGINES),
            action="correct it where Airflow's DAG processor runs",
        )
    return {
        "engine": Param(
            default,
            enum=list(ENGINES),
            type="string",
            title="Engine",
            description_md="**arrow**: on Airflow's workers. **spark**: as a run of the lake's AWS Glue job, which the "
            f"optional stack **spark** makes. **auto**: Spark for tables with much work. Both do the same, file by "
            f"file. The default is what the environment variable {ENGINE} says.",
            section=RUN,
        ),
        "spark_above_gb": Param(
            20,
            type="integer",
            minimum=0,
            title="Spark above (GB)",
            description_md=f"With the engine **auto**: tables with more than this many GB of {work} go to Spark.",
            section=RUN,
        ),
    }
