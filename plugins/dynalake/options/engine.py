"""What decides whether work runs on Airflow's workers or on Spark."""

from __future__ import annotations

import os
from dataclasses import dataclass

from dynalake.errors import SettingsError
from dynalake.options.option import Options, option

ENGINE = "DYNALAKE_ENGINE"
ENGINES = ("arrow", "spark", "auto")
SECTION = "Engine"


def default_engine() -> str:
    """Return the engine of runs that name none. Raise `SettingsError` if the environment names a wrong one."""
    default = os.environ.get(ENGINE) or "arrow"
    if default not in ENGINES:
        raise SettingsError(
            f"The environment variable {ENGINE} is {default!r}",
            allowed=", ".join(ENGINES),
            action="correct it where Airflow's DAG processor runs",
        )
    return default


@dataclass(frozen=True)
class Engine(Options):
    """The engine of a run."""

    engine: str = option(
        default_engine,
        "Engine",
        "`arrow`: on Airflow's workers. `spark`: as a run of the lake's AWS Glue job, which the optional stack `spark` "
        "makes. `auto`: Spark for tables with much work. Both do the same, file by file. The environment variable "
        f"`{ENGINE}` sets the default.",
        section=SECTION,
        choices=ENGINES,
    )
    spark_above_gb: int = option(
        20,
        "Use Spark above (GB)",
        "With the engine `auto`: tables with more than this many GB of work go to Spark, such as raw objects to "
        "convert, files to write again, or objects of a snapshot.",
        section=SECTION,
        minimum=0,
    )
