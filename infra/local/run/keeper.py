"""The processes that `make up` and `make trino` leave running, until `make down` ends them.

A keeper is `python -m MODULE keep` in its own session. It starts servers, publishes a file once they answer, and ends
them on SIGTERM.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from infra.local.run.interrupt import held

REPOSITORY = Path(__file__).resolve().parents[3]
HOME = REPOSITORY / ".local" / "up"
"""Folder of the keepers and of what they keep, readable by its owner only; `make clean` removes it."""
ENVIRONMENT_FILE = REPOSITORY / ".local" / "env"
"""File of `export NAME=value` lines that point at the servers of `make up`; it exists once everything answers."""
STOP_SECONDS = 300
"""The longest wait for a keeper that stops servers and saves a large state."""


class KeeperError(RuntimeError):
    """A keeper's servers did not start, or did not end."""


@dataclass(frozen=True)
class Keeper:
    """One keeper process: its module, and the name of its files in `HOME`."""

    module: str
    name: str

    @property
    def log(self) -> Path:
        """The file that it and its children print to."""
        return HOME / f"{self.name}.log"

    @property
    def pid(self) -> int | None:
        """Return the pid of the running keeper, or None; a pid reused by another program does not count."""
        with contextlib.suppress(OSError, ValueError):
            pid = int(self._pid_file.read_text())
            if self.module.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
        return None

    @property
    def was_killed(self) -> bool:
        """Return whether the last keeper ended without `forget`."""
        return self.pid is None and self._pid_file.exists()

    def forget(self) -> None:
        """Forget the keeper: it has ended in order."""
        self._pid_file.unlink(missing_ok=True)

    def start(self, what: str, ready: Path, seconds: float) -> None:
        """Start it and wait until `ready` exists, for at most `seconds`; print a dot each second.

        Raises `KeeperError` if it ends or takes longer. After an error or Ctrl-C, nothing is left running.
        """
        process = None
        try:
            with self.log.open("wb") as log, held():
                process = subprocess.Popen(
                    [sys.executable, "-m", self.module, "keep"],
                    cwd=REPOSITORY,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            self._pid_file.write_text(str(process.pid))
            print(f"Starting {what}", end="", flush=True)
            deadline = time.monotonic() + seconds
            while not ready.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise KeeperError(f"{what} did not start. Read the logs in {HOME}.")
                print(".", end="", flush=True)
                time.sleep(1)
        except BaseException:
            if process is not None:
                process.terminate()
                process.wait()
                self.forget()
            raise
        finally:
            print()

    def stop(self) -> bool:
        """End it and wait until it is gone; return False if none ran. Raises `KeeperError` after `STOP_SECONDS`."""
        pid = self.pid
        if pid is None:
            return False
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while self.pid == pid:
            if time.monotonic() > deadline:
                raise KeeperError(f"{self.module} (pid {pid}) did not end within {STOP_SECONDS} s.")
            time.sleep(0.2)
        return True

    @property
    def _pid_file(self) -> Path:
        return HOME / f"{self.name}.pid"


UP = Keeper("infra.local.run.up", "keeper")
TRINO = Keeper("infra.local.trino", "trino")


def publish(file: Path, text: str) -> None:
    """Write a file that only its owner can read, and that exists only when it is complete."""
    unfinished = file.with_suffix(".part")
    unfinished.touch(mode=0o600)
    unfinished.write_text(text)
    unfinished.rename(file)


def read_environment() -> dict[str, str]:
    """Return the variables of `ENVIRONMENT_FILE`. Raises `FileNotFoundError` if nothing is up."""
    lines = ENVIRONMENT_FILE.read_text().splitlines()
    pairs = (line.removeprefix("export ").split("=", 1) for line in lines if line.startswith("export "))
    return {name: shlex.split(value)[0] for name, value in pairs}
