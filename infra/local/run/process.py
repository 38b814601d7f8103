"""Start the local AWS server as a child process (standard library only)."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.local.aws.door import KEY_VARIABLE, authorization
from infra.local.run.child import ChildServer
from infra.local.run.keeper import REPOSITORY
from infra.local.run.kept import new_key

# The server must not inherit variables that point AWS clients or Lambda code elsewhere.
_DROPPED_PREFIXES = ("AWS_", "MINISTACK_", "PYTHON")

CALL_SECONDS = 300.0
"""The longest wait for an administrative endpoint: to save a large state takes a while."""


class LocalAws(ChildServer):
    """One local AWS server.

    `time_scale` divides every wait that AWS documents in seconds or minutes: at 60, a Firehose
    buffer of 60 s is delivered after one. `port` 0 takes any free port. The server's temporary files
    are in a directory below `state_dir` (default: the repository's `.local/`).
    `DYNALAKE_LOCAL_PYTHON` names another interpreter than `.venv-local/bin/python`. With `auth`, IAM is enforced:
    signatures, policies, and the roles that services act in. `key` is the access key and the secret of the account's
    root; requests without it are refused. Without one given, it differs in each run. `state` is a file that `save`
    wrote, to go on from there.
    """

    NAME = "AWS"
    START_SECONDS = 180.0

    def __init__(
        self,
        log: Path,
        time_scale: float = 60.0,
        port: int = 0,
        state_dir: Path | None = None,
        *,
        auth: bool = False,
        key: str = "",
        state: Path | None = None,
    ) -> None:
        super().__init__(log, state_dir or REPOSITORY / ".local")
        self.time_scale = time_scale
        self.port = port
        self.auth = auth
        self.key = key or new_key()
        self.state = state

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
            "AWS_REGION": "us-east-1",  # for the SDK for Java: Spark
            # pyiceberg reads by PyArrow, which knows no variable for the endpoint, and would ask AWS for the region.
            # These are properties of the catalog `lake`.
            "PYICEBERG_CATALOG__LAKE__S3__ENDPOINT": self.endpoint_url,
            "PYICEBERG_CATALOG__LAKE__S3__REGION": "us-east-1",
            # Streaming checksums cost pyarrow most of its write speed, and are useless on loopback.
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Call an administrative endpoint of the server; return the decoded JSON answer."""
        data = json.dumps(body).encode() if body is not None else None
        headers = authorization(self.key)
        request = urllib.request.Request(self.endpoint_url + path, data=data, headers=headers, method=method)
        with urllib.request.urlopen(request, timeout=CALL_SECONDS) as response:
            return json.loads(response.read() or b"null")

    def save(self, file: Path) -> None:
        """Write the whole state of this moment to a file."""
        self.call("POST", "/_dynalake/state", {"file": str(file)})

    def _command(self, state_dir: Path) -> list[str]:
        interpreter = os.environ.get("DYNALAKE_LOCAL_PYTHON", str(REPOSITORY / ".venv-local" / "bin" / "python"))
        command = [interpreter, "-m", "infra.local.aws.server", "--port", str(self.port), "--ends-with-stdin"]
        command += ["--time-scale", str(self.time_scale), "--state-dir", str(state_dir)]
        command += ["--auth"] if self.auth else []
        return [*command, "--state", str(self.state)] if self.state else command

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_DROPPED_PREFIXES)}
        return {**kept, "PYTHONUNBUFFERED": "1", KEY_VARIABLE: self.key}

    def _answers(self, state_dir: Path) -> bool:
        port_file = state_dir / "port"
        if not port_file.exists():
            return False
        self.port = int(port_file.read_text())
        try:
            self.call("GET", "/_ministack/health")
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False
        return True
