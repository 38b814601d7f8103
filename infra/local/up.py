"""`make up` and `make down`: local AWS and Airflow, left running for somebody to explore.

    python -m infra.local.up [up | down]

`up` starts a keeper process that holds both, waits until they answer, and says how to reach them; `down` ends it.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from infra.local.airflow import REPOSITORY, START_SECONDS, USER, LocalAirflow
from infra.local.interrupt import held, stop_once
from infra.local.process import LocalAws

LOCAL = REPOSITORY / ".local"
HOME = LOCAL / "up"
ENVIRONMENT_FILE = LOCAL / "env"
PID_FILE = HOME / "keeper.pid"
LOG_FILE = HOME / "keeper.log"
STOP_SECONDS = 90
DAGS = {file.stem for file in (REPOSITORY / "dags").glob("*.py")}


def _keeper_pid() -> int | None:
    """The pid of the running keeper, or None; a pid that now belongs to something else is not ours."""
    with contextlib.suppress(OSError, ValueError):
        pid = int(PID_FILE.read_text())
        if b"infra.local.up" in Path(f"/proc/{pid}/cmdline").read_bytes():
            return pid
    return None


def keep() -> int:
    """Holds local AWS and Airflow until SIGTERM; everything they wrote goes with them."""
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
            unfinished = ENVIRONMENT_FILE.with_suffix(".part")
            unfinished.touch(mode=0o600)
            unfinished.write_text(text)
            unfinished.rename(ENVIRONMENT_FILE)
            while True:
                signal.pause()
    return 0


def up() -> int:
    if _keeper_pid() is not None:
        print(f"Already up. `source {ENVIRONMENT_FILE.relative_to(REPOSITORY)}`, or stop it with `make down`.")
        return 0
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(parents=True)
    ENVIRONMENT_FILE.unlink(missing_ok=True)
    stop_once()
    keeper = None
    try:
        with LOG_FILE.open("wb") as log, held():
            keeper = subprocess.Popen(
                [sys.executable, "-m", "infra.local.up", "keep"],
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        PID_FILE.write_text(str(keeper.pid))
        print("Starting local AWS and Airflow", end="", flush=True)
        deadline = time.monotonic() + START_SECONDS
        while not ENVIRONMENT_FILE.exists():
            if keeper.poll() is not None or time.monotonic() > deadline:
                print(f"\nIt did not start. The logs: {HOME}", file=sys.stderr)
                keeper.terminate()
                return 1
            print(".", end="", flush=True)
            time.sleep(1)
    except KeyboardInterrupt:
        if keeper is not None:
            keeper.terminate()
            keeper.wait()
        shutil.rmtree(HOME, ignore_errors=True)
        ENVIRONMENT_FILE.unlink(missing_ok=True)
        print("\nStopped.")
        return 130
    values = dict(line.removeprefix("export ").split("=", 1) for line in ENVIRONMENT_FILE.read_text().splitlines())
    print(f"""

  Airflow     {values["AIRFLOW_URL"]}   login {values["AIRFLOW_USER"]} / {shlex.split(values["AIRFLOW_PASSWORD"])[0]}
  local AWS   {values["AWS_ENDPOINT_URL"]}

  Point any AWS client at it:  source {ENVIRONMENT_FILE.relative_to(REPOSITORY)}
  Create a table with its stream on, put items, then trigger `dynalake_setup` with {{"table": "…"}}.
  Stop and clean up:           make down
""")
    return 0


def down() -> int:
    pid = _keeper_pid()
    if pid is None:
        print("Nothing is up.")
    else:
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while _keeper_pid() == pid and time.monotonic() < deadline:
            time.sleep(0.2)
        if _keeper_pid() == pid:
            print(f"The keeper (pid {pid}) did not end within {STOP_SECONDS} s.", file=sys.stderr)
            return 1
        print("Stopped.")
    shutil.rmtree(HOME, ignore_errors=True)
    ENVIRONMENT_FILE.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    commands = {"up": up, "down": down, "keep": keep}
    raise SystemExit(commands[sys.argv[1]]() if len(sys.argv) == 2 and sys.argv[1] in commands else f"{__doc__}")
