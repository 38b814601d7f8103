"""The parameters that decide what runs on Spark."""

from __future__ import annotations

import os

from airflow.sdk import Param

from dynalake.errors import SettingsError
from dynalake.operators.parameters.which import RUN

ENGINE = "DYNALAKE_ENGINE"
ENGINES = ("arrow", "spark", "auto")


def engine_parameters(work: str) -> dict[str, Param]:
    """Return `engine` and `spark_above_gb`, which counts bytes of `work`. Raise `SettingsError` for a wrong default."""
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
            f"file. The environment variable **{ENGINE}** sets the default.",
            section=RUN,
        ),
        "spark_above_gb": Param(
            20,
            type="integer",
            minimum=0,
            title="Use Spark above (GB)",
            description_md=f"With the engine **auto**: tables with more than this many GB of {work} go to Spark.",
            section=RUN,
        ),
    }
