"""A server as a child process, which ends in any case when this one does (standard library only)."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Self

from infra.local.run.interrupt import held
from infra.local.run.keeper import REPOSITORY

STOP_SECONDS = 5.0


class ServerStartError(RuntimeError):
    """A server ended, with this exit code, or did not answer."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class Child(ABC):
    """A child process with a log file, in its own session; a context manager, or `start()` and `stop()`.

    It must end when the pipe on its standard input closes, as it does when this process dies in any way.
    """

    def __init__(self, log: Path) -> None:
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        if self._process is None:
            self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    @abstractmethod
    def start(self) -> None: ...

    @abstractmethod
    def stop(self) -> None: ...

    def _spawn(self, command: Sequence[str], folder: Path, environment: Mapping[str, str], mode: str = "ab") -> None:
        with self.log.open(mode) as log:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


class ChildServer(Child):
    """One server. It has a folder of its own below `parent`, which is removed at the end.

    A subclass gives the command and the environment, and says when the server answers.
    """

    NAME: ClassVar[str]
    START_SECONDS: ClassVar[float]

    def __init__(self, log: Path, parent: Path) -> None:
        super().__init__(log)
        self._parent = parent
        self._state_dir: Path | None = None

    @property
    def pid(self) -> int:
        """Return the pid of the running server."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the server and wait until it answers. Raises `ServerStartError` if it does not."""
        self._parent.mkdir(parents=True, exist_ok=True)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        try:
            with held():
                folder = tempfile.mkdtemp(prefix=f"{self.NAME.lower()}-", dir=self._parent)
                self._state_dir = state_dir = Path(folder)
                self._spawn(self._command(state_dir), REPOSITORY, self._environment())
            process = self._process
            assert process is not None
            deadline = time.monotonic() + self.START_SECONDS
            while not self._answers(state_dir):
                if process.poll() is not None:
                    code = process.returncode
                    raise ServerStartError(f"Local {self.NAME} ended with code {code}; read {self.log}", code)
                if time.monotonic() > deadline:
                    limit = f"{self.START_SECONDS:.0f} s"
                    raise ServerStartError(f"Local {self.NAME} did not answer within {limit}; read {self.log}")
                time.sleep(0.02)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server and everything that it started, and remove its files; safe to call twice."""
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None
            process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
            # It has its own session, so this reaches its own children and nothing else.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if self._state_dir is not None:
            shutil.rmtree(self._state_dir, ignore_errors=True)
            self._state_dir = None

    @abstractmethod
    def _command(self, state_dir: Path) -> Sequence[str]:
        """Return the command that starts the server with this folder for its files."""

    @abstractmethod
    def _environment(self) -> Mapping[str, str]:
        """Return the server's environment variables."""

    @abstractmethod
    def _answers(self, state_dir: Path) -> bool:
        """Return whether the server answers. It renames finished files into place: if one exists, it is complete."""
