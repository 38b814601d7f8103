"""Run one Trino on local AWS, as a child process (standard library only)."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from infra.local.run.interrupt import held
from infra.local.trino.jars import REPOSITORY, Installation

CATALOG = "awsdatacatalog"
"""Athena's name for Glue: Hive tables, Iceberg tables and views."""
START_SECONDS = 300.0
STOP_SECONDS = 5.0
MEMORY = "3g"
# Trino uses parts of the JVM that are closed by default, to read values and compile queries.
_OPENED = ["--add-modules=jdk.incubator.vector", "--enable-native-access=ALL-UNNAMED"]
_OPENED += ["--sun-misc-unsafe-memory-access=allow"]
SMALL = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData")
"""Flags for a JVM that runs for a minute: no second compiler and no garbage collection threads. Starting and small
queries then take half of the processor time."""


class TrinoStartError(RuntimeError):
    """Trino ended, or did not answer."""


class LocalTrino:
    """One Trino; a context manager, or `start()` and `stop()`.

    `aws` are the variables of the AWS that it reads (`LocalAws.env()`). Its files are in a folder below the
    repository's `.local/`, which is removed at the end. It ends when this process does.
    """

    def __init__(self, installation: Installation, log: Path, aws: Mapping[str, str], port: int = 0) -> None:
        self.log = log
        self.port = port
        self.url = ""
        self._installation = installation
        self._aws = dict(aws)
        self._state_dir: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Return the pid of the running server."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the server and wait until it answers. Raises `TrinoStartError` if it does not."""
        parent = REPOSITORY / ".local"
        parent.mkdir(exist_ok=True)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self.log.open("ab") as log, held():
                self._state_dir = state_dir = Path(tempfile.mkdtemp(prefix="trino-", dir=parent))
                memory = [f"-Xmx{MEMORY}", f"-Djava.io.tmpdir={state_dir}"]
                program = ["-cp", self._installation.class_path, "LakeServer", str(self.port), str(state_dir)]
                self._process = subprocess.Popen(
                    [self._installation.jdk.java, *memory, *SMALL, *_OPENED, *program],
                    env=self._environment(),
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            self.url = self._wait_for(state_dir / "url")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server and remove its files; safe to call twice."""
        process, self._process = self._process, None
        if process is not None:
            if process.stdin is not None:
                process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if self._state_dir is not None:
            shutil.rmtree(self._state_dir, ignore_errors=True)
            self._state_dir = None

    def _environment(self) -> dict[str, str]:
        # Without the user's own AWS settings and without flags for other JVMs.
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "JAVA_", "JDK_"))}
        return {**kept, **self._aws}

    def _wait_for(self, url: Path) -> str:
        process = self._process
        assert process is not None
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise TrinoStartError(f"Trino ended with code {process.returncode}; read {self.log}")
            # The server renames the finished file into place: if it exists, it is complete.
            if url.exists():
                return url.read_text()
            time.sleep(0.05)
        raise TrinoStartError(f"Trino did not answer within {START_SECONDS:.0f} s; read {self.log}")
