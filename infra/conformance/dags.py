"""Run DAGs with Airflow's `dag.test`, in one process without an Airflow server.

Run as a program, the module is that process: it reads lines of `{"dag": …, "conf": …}` and answers each with a line.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dynalake.options.lakes import LAKES
from infra.local.run.airflow import LocalAirflow
from infra.local.run.keeper import REPOSITORY

CONNECTION = "AIRFLOW_CONN_AWS_DEFAULT"


class DagError(RuntimeError):
    """A DAG's run has failed; the message names the tasks and the reason."""


class Dags:
    """The process, for one lake. `aws`: variables with its credentials; `extra`: that field of its AWS connection."""

    def __init__(self, home: Path, environment: str, aws: Mapping[str, str], extra: Mapping[str, Any]) -> None:
        self._home = home
        connection = json.dumps({"conn_type": "aws", "extra": dict(extra)})
        self._environment = {
            **LocalAirflow(home, aws).environment(),
            "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'plugins'}",
            CONNECTION: connection,
            LAKES: json.dumps({environment: {}}),
        }

    def __enter__(self) -> Self:
        (self._home / "tmp").mkdir(parents=True, exist_ok=True)
        with (self._home / "dags.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "infra.conformance.dags"],
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                # Ctrl-C must reach only the parent, which ends it.
                start_new_session=True,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()

    def run(self, dag: str, **conf: Any) -> None:
        """Run a DAG to its end. Raises `DagError` if it fails."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({"dag": dag, "conf": conf}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline() or '{"state": "lost", "failed": [], "said": []}')
        if answer["state"] != "success":
            raise DagError(f"{dag} is {answer['state']} in {', '.join(answer['failed'])}: {' '.join(answer['said'])}")


class _Errors(logging.Handler):
    """Collects the error messages of tasks."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


def main() -> None:
    # Airflow logs to standard output, but that is for the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    from airflow.dag_processing.dagbag import DagBag
    from airflow.utils.db import initdb

    initdb()
    errors = _Errors()
    logging.getLogger("dynalake").addHandler(errors)
    folder = REPOSITORY / "dags"
    for line in sys.stdin:
        request = json.loads(line)
        errors.said.clear()
        # Load the DAG for each run: `test` leaves the run's parameters in it.
        bag = DagBag(str(folder), bundle_name="dags-folder", bundle_path=folder)
        run = bag.dags[request["dag"]].test(run_conf=request["conf"])
        tasks = run.get_task_instances()
        failed = sorted({task.task_id for task in tasks if task.state in ("failed", "upstream_failed")})
        answers.write(json.dumps({"state": str(run.state), "failed": failed, "said": errors.said}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
