"""`make up` and `make down`: start local AWS and Airflow, leave them running, and stop them.

    python -m infra.local.run.up [up | down]

`up` starts a keeper process that runs both, waits until they answer, and prints how to reach them. `down` ends it, and
also the Trino that `make trino` started. The next `up` goes on where `down` stopped, at the same addresses.
"""

from __future__ import annotations

import contextlib
import shlex
import sqlite3
import sys
import time
from pathlib import Path

from dynalake.options.lakes import DEFAULT, LAKES, SCHEDULED, SHARED
from infra.local.aws.corrections import UNREADABLE_STATE
from infra.local.run import kept
from infra.local.run.airflow import BIN, START_SECONDS, USER, LocalAirflow
from infra.local.run.child import ServerStartError
from infra.local.run.interrupt import stop_once
from infra.local.run.keeper import ENVIRONMENT_FILE, HOME, REPOSITORY, TRINO, UP, KeeperError, publish, read_environment
from infra.local.run.kept import Identity
from infra.local.run.process import LocalAws
from infra.local.run.supervise import adopt_orphans, kill_descendants

DAGS = {f"dynalake_{name}" for name in (*SCHEDULED, *SHARED)}
SAVE_SECONDS = 600
NOTES = HOME / "notes"
"""What the keeper tells the user who waits for it."""
_ENVIRONMENT = ENVIRONMENT_FILE.relative_to(REPOSITORY)


def keep() -> int:
    """Run local AWS and Airflow until SIGTERM, and save their state, now and then and at the end."""
    adopt_orphans()
    stop_once()
    saved = True
    with contextlib.suppress(KeyboardInterrupt):
        identity = Identity.read()
        aws, state = start_aws(identity)
        with aws:
            airflow = LocalAirflow(HOME / "airflow", {**aws.env(), LAKES: DEFAULT}, identity)
            kept.restore_database(state, airflow.database)
            with contextlib.suppress(KeyboardInterrupt), airflow:
                _get_ready(airflow, new=state is None)
                saved = False
                while True:
                    time.sleep(SAVE_SECONDS)
                    _save(aws, airflow)
            saved = saved or _save(aws, airflow)
    kill_descendants()
    if saved:
        UP.forget()
    return 0


def start_aws(identity: Identity) -> tuple[LocalAws, Path | None]:
    """Start local AWS with the last state, and return both; if it cannot be read, without one, which a note says."""
    state = kept.newest()
    aws = LocalAws(HOME / "aws.log", port=identity.ports[0], key=identity.key, state=state and state / "aws")
    try:
        aws.start()
    except ServerStartError as error:
        if state is None or error.code != UNREADABLE_STATE:
            raise
        place = kept.set_aside(state).relative_to(REPOSITORY)
        publish(NOTES, f"The data of the last run cannot be read, so this one starts empty. It is in {place}.\n")
        return start_aws(identity)
    return aws, state


def _get_ready(airflow: LocalAirflow, *, new: bool) -> None:
    for _ in airflow.wait_ready(DAGS):
        pass
    # Later, a DAG is paused because the user paused it.
    for dag in sorted(DAGS) if new else ():
        airflow.client.unpause(dag)
    login = {"AIRFLOW_URL": airflow.url, "AIRFLOW_USER": USER, "AIRFLOW_PASSWORD": airflow.identity.password}
    exports = (f"export {name}={shlex.quote(value)}\n" for name, value in {**airflow.settings(), **login}.items())
    publish(ENVIRONMENT_FILE, "".join(exports) + f'PATH={shlex.quote(str(BIN))}:"$PATH"\n')


def _save(aws: LocalAws, airflow: LocalAirflow) -> bool:
    try:
        kept.save(aws.save, airflow.database)
    except (OSError, sqlite3.Error) as error:
        print(f"Not saved: {error!r}", flush=True)
        return False
    return True


def up() -> int:
    stop_once()
    try:
        start()
    except KeyboardInterrupt:
        print("Stopped.")
        return 130
    show()
    return 0


def start() -> None:
    """Start the keeper unless it runs, and wait until everything answers. Raises `KeeperError` if it does not."""
    if UP.pid is not None:
        print("Already up.")
        return
    HOME.mkdir(mode=0o700, parents=True, exist_ok=True)
    for file in (ENVIRONMENT_FILE, NOTES):
        file.unlink(missing_ok=True)
    said = Identity.prepare(kept.AWS_AND_AIRFLOW)
    state = kept.newest()
    if UP.was_killed:
        said.append(
            f"The last run was killed. This one goes on from {kept.moment(state)}, when its state was last saved."
            if state
            else "The last run was killed before its state was saved. This one starts empty."
        )
    elif state:
        said.append(f"This goes on where the last run stopped, at {kept.moment(state)}.")
    for line in said:
        print(line)
    UP.start("local AWS and Airflow", ENVIRONMENT_FILE, START_SECONDS)
    if NOTES.exists():
        print(NOTES.read_text(), end="")


def show() -> None:
    """Print how to reach everything, and how to stop it."""
    values = read_environment()
    print(f"""
  Airflow     {values["AIRFLOW_URL"]}   login {values["AIRFLOW_USER"]} / {values["AIRFLOW_PASSWORD"]}
  local AWS   {values["AWS_ENDPOINT_URL"]}

  For AWS clients and `airflow`:  source {_ENVIRONMENT}
  Your own table:                 create it with its stream on, put items, then
                                  airflow dags trigger dynalake_setup --conf '{{"table": "…"}}'
  Query the lake with SQL:        make trino
  Stop, and keep the data:        make down
  Remove everything:              make clean
""")


def down() -> int:
    _, ended = TRINO.stop(), UP.stop()
    ENVIRONMENT_FILE.unlink(missing_ok=True)
    if not ended:
        print("Nothing is up.")
    elif UP.was_killed:
        state = kept.newest()
        last = f"that of {kept.moment(state)}" if state else "nothing"
        print(f"Stopped, but its state could not be saved (read {UP.log}): the next `make up` has {last}.")
        return 1
    else:
        print("Stopped. `make up` goes on from here; `make clean` removes everything.")
    return 0


if __name__ == "__main__":
    commands = {"up": up, "down": down, "keep": keep}
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        raise SystemExit(__doc__)
    try:
        raise SystemExit(commands[sys.argv[1]]())
    except KeeperError as error:
        raise SystemExit(str(error)) from None
