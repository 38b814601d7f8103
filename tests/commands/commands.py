"""Commands of the Makefile, and the processes that they have started."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.machine import REPOSITORY


@dataclass
class Marked:
    """Finds the processes of one command by a variable in their environment."""

    mark: str

    def environment(self) -> Mapping[str, str]:
        return {**os.environ, "DYNALAKE_TEST_MARK": self.mark}

    def processes(self) -> dict[int, str]:
        """Return pid → command line of every running process with the mark."""
        commands = {}
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if f"DYNALAKE_TEST_MARK={self.mark}".encode() in (entry / "environ").read_bytes():
                    commands[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue  # it ended in the meantime
        return commands


def start(command: list[str], environment: Mapping[str, str], clone: Path = REPOSITORY) -> subprocess.Popen[str]:
    """Start a command in its own session, so that a signal to its group acts like Ctrl-C in a terminal."""
    return subprocess.Popen(
        command,
        cwd=clone,
        env={**environment, "PYTHONPATH": "plugins"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
