"""`make up` and `make down`: start local AWS and Airflow, leave them running, and stop them.

    python -m infra.local.run.up [up | down]

`up` starts a keeper process that runs both, waits until they answer, and prints how to reach them. `down` ends it, and
also the Trino that `make trino` started.
"""

from __future__ import annotations

import contextlib
import shlex
import shutil
import signal
import sys

from dynalake.options.lakes import SCHEDULED, SHARED
from infra.local.run.airflow import REPOSITORY, START_SECONDS, USER, LocalAirflow
from infra.local.run.interrupt import stop_once
from infra.local.run.keeper import ENVIRONMENT_FILE, HOME, TRINO, UP, KeeperError, publish, read_environment
from infra.local.run.process import LocalAws

DAGS = {f"dynalake_{name}" for name in (*SCHEDULED, *SHARED)}


def keep() -> int:
    """Run local AWS and Airflow until SIGTERM, then remove everything that they wrote."""
    stop_once()
    with contextlib.suppress(KeyboardInterrupt), LocalAws(HOME / "aws.log") as aws:
        with LocalAirflow(HOME / "airflow", aws.env()) as airflow:
            for _ in airflow.wait_ready(DAGS):
                pass
            for dag in sorted(DAGS):
                airflow.client.unpause(dag)
            values = {
                **aws.env(),
                "AIRFLOW_URL": airflow.url,
                "AIRFLOW_USER": USER,
                "AIRFLOW_PASSWORD": airflow.password,
            }
            text = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in values.items())
            publish(ENVIRONMENT_FILE, text)
            while True:
                signal.pause()
    return 0


def up() -> int:
    if UP.pid is not None:
        print(f"Already up. Use it: `source {ENVIRONMENT_FILE.relative_to(REPOSITORY)}`. Stop it with `make down`.")
        return 0
    _clean()
    HOME.mkdir(mode=0o700, parents=True)
    stop_once()
    try:
        UP.start("local AWS and Airflow", ENVIRONMENT_FILE, START_SECONDS)
    except KeyboardInterrupt:
        _clean()
        print("Stopped.")
        return 130
    values = read_environment()
    print(f"""
  Airflow     {values["AIRFLOW_URL"]}   login {values["AIRFLOW_USER"]} / {values["AIRFLOW_PASSWORD"]}
  local AWS   {values["AWS_ENDPOINT_URL"]}

  Point any AWS client at it:  source {ENVIRONMENT_FILE.relative_to(REPOSITORY)}
  Create a table with its stream on, put items, then trigger `dynalake_setup` with {{"table": "…"}}.
  Query the lake with SQL:     make trino
  Stop and clean up:           make down
""")
    return 0


def down() -> int:
    running = [keeper.stop() for keeper in (TRINO, UP)]
    print("Stopped." if any(running) else "Nothing is up.")
    _clean()
    return 0


def _clean() -> None:
    shutil.rmtree(HOME, ignore_errors=True)
    ENVIRONMENT_FILE.unlink(missing_ok=True)


if __name__ == "__main__":
    commands = {"up": up, "down": down, "keep": keep}
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        raise SystemExit(__doc__)
    try:
        raise SystemExit(commands[sys.argv[1]]())
    except KeeperError as error:
        raise SystemExit(str(error)) from None
