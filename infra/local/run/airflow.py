"""A complete Airflow on this machine, and a client of its REST API.

It runs `airflow standalone` on SQLite, bound to 127.0.0.1, with its own home folder. Its environment variables give it
access to AWS, like the connection `aws_default` in any other Airflow.
"""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from infra.local.run.child import Child
from infra.local.run.interrupt import held
from infra.local.run.keeper import REPOSITORY, publish
from infra.local.run.kept import DATABASE, Identity

BIN = Path(sys.executable).parent
USER = "admin"
ELSEWHERE = ("AIRFLOW_", "AWS_", "DYNALAKE_LAKES")
PAUSES = (0.2, 0.5, 1.0, 2.0, 4.0)
"""Seconds between the attempts of one request."""

# These allow for a machine that is busy with other work; they are not typical times.
ANSWER_SECONDS = 120.0
START_SECONDS = 400.0
# Two connections of a component may wait for each other. One gives up, long before its caller does, and is tried again.
LOCK_SECONDS = 25.0


class AirflowRequestError(Exception):
    """Airflow's REST API refused a request; `status` is the HTTP status."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"HTTP {status}: {detail}")
        self.status = status


class AirflowClient:
    """A client for a few calls of Airflow's stable REST API (v2)."""

    def __init__(self, url: str, user: str, password: str) -> None:
        self.url = url
        self._credentials = {"username": user, "password": password}
        self._token = ""

    def call(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Any:
        """Call `/api/v2{path}` and return the decoded JSON answer. Raises `AirflowRequestError` if it is refused."""
        if not self._token:
            self._token = self._send("POST", "/auth/token", self._credentials)["access_token"]
        for pause in (*PAUSES, None):
            try:
                return self._send(method, f"/api/v2{path}", body)
            except AirflowRequestError as error:
                # SQLite locks the whole database: on a busy machine a request may find it locked and is rolled back.
                locked = error.status == 500 and "Database error" in str(error)
                if pause is None or not (locked or error.status == 401):
                    raise
                if error.status == 401:
                    self._token = self._send("POST", "/auth/token", self._credentials)["access_token"]
                time.sleep(pause)
        raise AssertionError("the last pass returns or raises")

    def _send(self, method: str, path: str, body: Mapping[str, object] | None) -> Any:
        headers = {"Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            raise AirflowRequestError(error.code, error.read().decode(errors="replace")) from error
        return json.loads(text) if text else None

    def healthy(self) -> bool:
        """Return whether the API server, the scheduler, the DAG processor and the triggerer all answer."""
        try:
            health = self._send("GET", "/api/v2/monitor/health", None)
        except (OSError, AirflowRequestError, ValueError):
            return False
        parts = ("metadatabase", "scheduler", "dag_processor", "triggerer")
        return all((health.get(part) or {}).get("status") == "healthy" for part in parts)

    def dags(self) -> set[str]:
        return {dag["dag_id"] for dag in self.call("GET", "/dags?limit=100")["dags"]}

    def unpause(self, dag: str) -> None:
        self._set_paused(dag, paused=False)

    @contextmanager
    def paused(self, dag: str) -> Iterator[None]:
        """Let new runs of the DAG wait during a `with` block."""
        before = bool(self.call("GET", f"/dags/{dag}")["is_paused"])
        self._set_paused(dag, paused=True)
        try:
            yield
        finally:
            self._set_paused(dag, paused=before)

    def _set_paused(self, dag: str, *, paused: bool) -> None:
        self.call("PATCH", f"/dags/{dag}?update_mask=is_paused", {"is_paused": paused})

    def trigger(self, dag: str, conf: Mapping[str, object]) -> str:
        """Start a run and return its id."""
        run: str = self.call("POST", f"/dags/{dag}/dagRuns", {"logical_date": None, "conf": dict(conf)})["dag_run_id"]
        return run

    def runs(self, dag: str) -> list[dict[str, Any]]:
        """Return the latest 50 runs of a DAG, newest first."""
        runs: list[dict[str, Any]] = self.call("GET", f"/dags/{dag}/dagRuns?order_by=-id&limit=50")["dag_runs"]
        return runs

    def run_state(self, dag: str, run: str) -> str:
        state: str = self.call("GET", f"/dags/{dag}/dagRuns/{run}")["state"]
        return state

    def tasks(self, dag: str, run: str) -> list[dict[str, Any]]:
        path = f"/dags/{dag}/dagRuns/{run}/taskInstances?limit=200"
        tasks: list[dict[str, Any]] = self.call("GET", path)["task_instances"]
        return tasks

    def result(self, dag: str, run: str, task: str) -> Any:
        """Return the value that a task returned."""
        path = f"/dags/{dag}/dagRuns/{run}/taskInstances/{task}/xcomEntries/return_value?deserialize=true"
        return self.call("GET", path)["value"]

    def log(self, dag: str, run: str, task: str, attempt: int, map_index: int = -1) -> str:
        path = f"/dags/{dag}/dagRuns/{run}/taskInstances/{task}/logs/{attempt}?map_index={map_index}"
        lines = self.call("GET", path)["content"]
        return "\n".join(text for line in lines for text in _texts(line))


def _texts(line: Any) -> Iterator[str]:
    if not isinstance(line, dict):
        yield str(line)
        return
    yield str(line.get("event", line))
    for error in line.get("error_detail") or ():
        if "What to do: " not in error["exc_value"]:  # dynalake's own errors are lines of the log
            yield f"{error['exc_type']}: {error['exc_value']}"


class LocalAirflow(Child):
    """Airflow with the repository's DAGs and plugin; it runs as long as the `with` block."""

    def __init__(self, home: Path, environment: Mapping[str, str], identity: Identity | None = None) -> None:
        super().__init__(home / "standalone.log")
        self.home = home
        self.database = home / DATABASE
        self.identity = identity or Identity()
        self._environment = dict(environment)
        self.url = f"http://127.0.0.1:{self.identity.ports[1]}"
        self.client = AirflowClient(self.url, USER, self.identity.password)

    def environment(self) -> dict[str, str]:
        """The environment of Airflow's processes."""
        return {
            # Variables of the user's shell for another Airflow or another AWS must not reach this one.
            **{name: value for name, value in os.environ.items() if not name.startswith(ELSEWHERE)},
            **self.settings(),
            # `airflow standalone` starts its components as `airflow …`, found on PATH.
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": "",
            "TMPDIR": str(self.home / "tmp"),
            "NO_COLOR": "1",
        }

    def settings(self) -> dict[str, str]:
        """The variables by which Airflow and its command line know their home, and AWS."""
        _, api, worker_log, trigger_log, _ = self.identity.ports
        return {
            **self._environment,
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW_CONN_AWS_DEFAULT": json.dumps({"conn_type": "aws"}),
            "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PARALLELISM": "8",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self.home / "passwords.json"),
            # By default a component waits 5 s for a lock. Then the scheduler ends, and no more tasks run.
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.database}?timeout={LOCK_SECONDS:g}",
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(api),
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API_AUTH__JWT_SECRET": self.identity.secret,
            "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": f"{ANSWER_SECONDS:g}",
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(worker_log),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(trigger_log),
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
            # A changed file is still read again at once.
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",
            # A file whose parsing times out is not read again before that.
            "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": f"{ANSWER_SECONDS:g}",
            "AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT": f"{2 * ANSWER_SECONDS:.0f}",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        }

    def start(self) -> None:
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.home / "tmp").mkdir(exist_ok=True)
        publish(self.home / "passwords.json", json.dumps({USER: self.identity.password}))
        supervisor = [sys.executable, str(REPOSITORY / "infra/local/run/supervise.py")]
        try:
            with held():
                self._spawn([*supervisor, "--", "airflow", "standalone"], self.home, self.environment(), "wb")
        except BaseException:
            self.stop()
            raise

    def wait_ready(self, dags: set[str], timeout: float = START_SECONDS) -> Iterator[str]:
        """Yield what is missing until Airflow is healthy and lists `dags`. Raises `RuntimeError` if that fails."""
        assert self._process is not None
        deadline = time.monotonic() + timeout
        while True:
            if self._process.poll() is not None:
                raise RuntimeError(f"Airflow ended unexpectedly. Read its log: {self.log}")
            missing = set(dags) - self.client.dags() if self.client.healthy() else {"Airflow"}
            if not missing:
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"Missing after {timeout:.0f} s: {sorted(missing)}. Read the log: {self.log}")
            yield ", ".join(sorted(missing))
            time.sleep(0.3)

    def stop(self, *, to_start_again: bool = False) -> None:
        """Kill it at once; with `to_start_again`, let it shut down by itself, which takes seconds of CPU time."""
        if self._process is None:
            return
        if to_start_again:
            self._process.terminate()
            self._process.wait()
        if self._process.stdin:
            self._process.stdin.close()
        self._process.wait()
        self._process = None
