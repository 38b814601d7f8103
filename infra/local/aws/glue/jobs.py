"""Glue's Spark jobs: each run is its own process with PySpark on this machine, and reports how it ended.

https://docs.aws.amazon.com/glue/latest/webapi/API_StartJobRun.html
The interpreter is that of the repository's `.venv` (with the development requirements, which include PySpark), or of
`DYNALAKE_SPARK_PYTHON`. A run acts in its job's role if IAM is enforced.
"""

from __future__ import annotations

import contextvars
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ministack import app as gateway
from ministack.core.responses import get_account_id, get_region
from ministack.services import glue, iam, s3, sts

from infra.local.aws.glue.answers import Request, Response, answer, guarded, missing
from infra.local.aws.iam import access
from infra.local.aws.patch import replace

ROOT = Path(__file__).resolve().parents[4]
# Arguments that Glue reads itself: https://docs.aws.amazon.com/glue/latest/dg/aws-glue-programming-etl-glue-arguments.html
_OWN = ("--additional-python-modules", "--enable-", "--extra-py-files", "--conf", "--job-language")


@replace(glue, "_start_job_run")
@guarded
def start(request: Request) -> Response:
    """StartJobRun: run the script to its end; its exit code decides the state."""
    name = str(request.get("JobName", ""))
    job = glue._jobs.get(name)
    if job is None:
        raise missing(f"Failed to start job run due to missing metadata: job {name}")
    arguments = {**job["DefaultArguments"], **(request.get("Arguments") or {})}
    now = int(time.time())
    run = {
        "Id": f"jr_{os.urandom(32).hex()}",
        "JobName": name,
        "Attempt": 0,
        "JobRunState": "RUNNING",
        "StartedOn": now,
        "LastModifiedOn": now,
        "Arguments": arguments,
        "GlueVersion": job["GlueVersion"],
    }
    glue._job_runs.setdefault(name, []).insert(0, run)
    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(_run, job, run), daemon=True).start()
    return answer({"JobRunId": run["Id"]})


def _run(job: Mapping[str, Any], run: dict[str, Any]) -> None:
    scratch = Path(tempfile.mkdtemp(prefix="glue-"))
    try:
        done = subprocess.run(
            _command(job, run, scratch),
            cwd=scratch,
            env=_environment(job, run["Arguments"], scratch),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        state, lines = ("FAILED" if done.returncode else "SUCCEEDED"), done.stdout.decode(errors="replace").split("\n")
        if done.returncode:
            run["ErrorMessage"] = next((line for line in reversed(lines) if "Error" in line), f"exit {done.returncode}")
            print("\n".join(lines), flush=True)
    except (OSError, KeyError) as error:
        state, run["ErrorMessage"] = "FAILED", f"{type(error).__name__}: {error}"
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    ended = int(time.time())
    run.update(CompletedOn=ended, LastModifiedOn=ended, ExecutionTime=ended - run["StartedOn"], JobRunState=state)


def _command(job: Mapping[str, Any], run: Mapping[str, Any], scratch: Path) -> list[str]:
    script = _fetch(str(job["Command"]["ScriptLocation"]), scratch)
    command = [_interpreter(), str(script), "--JOB_NAME", str(job["Name"]), "--JOB_RUN_ID", str(run["Id"])]
    for name, value in run["Arguments"].items():
        if not name.startswith(_OWN):
            command += [name, str(value)]
    return command


def _environment(job: Mapping[str, Any], arguments: Mapping[str, str], scratch: Path) -> dict[str, str]:
    archives = [_fetch(uri, scratch) for uri in arguments.get("--extra-py-files", "").split(",") if uri]
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "PYTHONPATH": os.pathsep.join(map(str, archives)),
        "PYSPARK_PYTHON": _interpreter(),
        "PYSPARK_SUBMIT_ARGS": "--master local[2] --driver-memory 1g --conf spark.ui.enabled=false "
        "--conf spark.sql.shuffle.partitions=2 pyspark-shell",
        "SPARK_LOCAL_IP": "127.0.0.1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{os.environ['GATEWAY_PORT']}",
        "AWS_DEFAULT_REGION": get_region(),
        "AWS_EC2_METADATA_DISABLED": "true",
        **_credentials(str(job["Role"])),
    }


def _interpreter() -> str:
    return os.environ.get("DYNALAKE_SPARK_PYTHON", str(ROOT / ".venv" / "bin" / "python"))


def _fetch(uri: str, scratch: Path) -> Path:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    path = scratch / key.rpartition("/")[2]
    body = s3._get_object_data(bucket, key)
    if body is None:
        raise FileNotFoundError(uri)
    path.write_bytes(body)
    return path


def _credentials(role: str) -> dict[str, str]:
    """Return the root's credentials, or those of a session of the role if IAM is enforced and Glue may assume it."""
    if not gateway.AUTH:
        return {name: os.environ[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    if not access.allows(role, "glue.amazonaws.com", []):
        raise PermissionError(f"glue.amazonaws.com may not assume {role}")
    name, account = role.rpartition("/")[2], get_account_id()
    key, secret, token = iam._gen_session_access_key(), iam._gen_secret(), iam._gen_session_token()
    session = {"Arn": f"arn:aws:sts::{account}:assumed-role/{name}/GlueJobRunnerSession", "UserId": f"{name}:glue"}
    session |= {"SecretAccessKey": secret, "SessionToken": token, "AccountId": account, "PrincipalType": "AssumedRole"}
    sts.register_session(key, session)
    return {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret, "AWS_SESSION_TOKEN": token}
