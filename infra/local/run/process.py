"""Start the local AWS server as a child process, and make sure that it stops (standard library only)."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from infra.local.aws.door import KEY_VARIABLE, authorization
from infra.local.run.interrupt import held

ROOT = Path(__file__).resolve().parents[3]
START_SECONDS = 180.0
STOP_SECONDS = 5.0

# The server must not inherit variables that point AWS clients or Lambda code elsewhere.
_DROPPED_PREFIXES = ("AWS_", "MINISTACK_", "PYTHON")


class LocalAwsError(RuntimeError):
    """The local AWS server could not be started or did not answer."""


class LocalAws:
    """One local AWS server; a context manager, or `start()` and `stop()`.

    `time_scale` divides every wait that AWS documents in seconds or minutes: at 60, a Firehose
    buffer of 60 s is delivered after one. `port` 0 takes any free port. The server's temporary files
    are in a directory below `state_dir` (default: the repository's `.local/`), which is removed at the end.
    `DYNALAKE_LOCAL_PYTHON` names another interpreter than `.venv-local/bin/python`. With `auth`, IAM is enforced:
    signatures, policies, and the roles that services act in. `key` is the access key and the secret of the account's
    root. It differs in each run, and requests without it are refused.
    """

    def __init__(
        self,
        log: Path,
        time_scale: float = 60.0,
        port: int = 0,
        state_dir: Path | None = None,
        *,
        auth: bool = False,
    ) -> None:
        self.log = log
        self.time_scale = time_scale
        self.port = port
        self.auth = auth
        self.key = new_key()
        self._state_parent = state_dir or ROOT / ".local"
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
    def endpoint_url(self) -> str:
        """`http://127.0.0.1:<port>`, for any AWS client; the port is known after the start."""
        return f"http://127.0.0.1:{self.port}"

    def env(self) -> dict[str, str]:
        """Return the environment variables that point an AWS SDK at this server only."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.key,
            "AWS_DEFAULT_REGION": "us-east-1",
            # Streaming checksums cost pyarrow most of its write speed, and are useless on loopback.
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def start(self) -> None:
        """Start the server and wait until it answers."""
        self._state_parent.mkdir(parents=True, exist_ok=True)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        interpreter = os.environ.get("DYNALAKE_LOCAL_PYTHON", str(ROOT / ".venv-local" / "bin" / "python"))
        command = [interpreter, "-m", "infra.local.aws.server", "--port", str(self.port)]
        command += ["--time-scale", str(self.time_scale), "--ends-with-stdin", *(["--auth"] if self.auth else [])]
        try:
            with self.log.open("ab") as log, held():
                self._state_dir = state_dir = Path(tempfile.mkdtemp(prefix="aws-", dir=self._state_parent))
                # The server reads the pipe on its standard input: when this process dies in any way,
                # the pipe closes and the server ends itself.
                self._process = subprocess.Popen(
                    [*command, "--state-dir", str(state_dir)],
                    cwd=ROOT,
                    env={**_server_environment(os.environ), KEY_VARIABLE: self.key},
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            self._wait_until_healthy(state_dir / "port")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server and everything that it started, and remove its files; safe to call twice."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
            # It has its own session, so this reaches its Lambda workers and nothing else.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stdin is not None:
                process.stdin.close()
        if self._state_dir is not None:
            shutil.rmtree(self._state_dir, ignore_errors=True)
            self._state_dir = None

    def reset(self) -> None:
        """Forget every resource, as if just started."""
        self.call("POST", "/_ministack/reset")

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Call an administrative endpoint of the server; return the decoded JSON answer."""
        data = json.dumps(body).encode() if body is not None else None
        headers = authorization(self.key)
        request = urllib.request.Request(self.endpoint_url + path, data=data, headers=headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.loads(response.read() or b"null")

    def _wait_until_healthy(self, port_file: Path) -> None:
        process = self._process
        assert process is not None
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise LocalAwsError(f"Local AWS ended with code {process.returncode}; read {self.log}")
            # The server renames the finished file into place: if it exists, it is complete.
            if port_file.exists():
                self.port = int(port_file.read_text())
                try:
                    self.call("GET", "/_ministack/health")
                except (urllib.error.URLError, ConnectionError, TimeoutError):
                    pass
                else:
                    return
            time.sleep(0.02)
        raise LocalAwsError(f"Local AWS did not answer within {START_SECONDS:.0f} s; read {self.log}")


def new_key() -> str:
    """Return a random access key for one run, in the format of AWS's keys."""
    return f"LOCAL{secrets.token_hex(12).upper()}"


def _server_environment(environ: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in environ.items() if not name.startswith(_DROPPED_PREFIXES)}
    return {**kept, "PYTHONUNBUFFERED": "1"}
