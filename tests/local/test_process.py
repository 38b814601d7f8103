"""The local server as a process: its files, its environment, its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from infra.local.run.child import ServerStartError
from infra.local.run.keeper import REPOSITORY
from infra.local.run.process import LocalAws
from tests.support.waiting import eventually

STARTER = """
import sys, time
from pathlib import Path
from infra.local.run.process import LocalAws
aws = LocalAws(log=Path(sys.argv[1]) / "server.log", state_dir=Path(sys.argv[1]) / "state")
aws.start()
print(aws.pid, flush=True)
time.sleep(60)
"""


def test_it_removes_its_files_and_ends(tmp_path: Path) -> None:
    with LocalAws(log=tmp_path / "server.log", state_dir=tmp_path / "state") as aws:
        assert aws.endpoint_url.startswith("http://127.0.0.1:")
        assert aws.env()["AWS_ENDPOINT_URL"] == aws.endpoint_url
        assert list((tmp_path / "state").iterdir())
        process = aws._process
        assert process is not None
    assert process.poll() is not None
    assert not list((tmp_path / "state").iterdir())


def test_it_ends_when_the_process_that_started_it_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STARTER, str(tmp_path)]
    parent = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    server = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    eventually(lambda: not _runs(server))
    assert not list((tmp_path / "state").iterdir())


def test_a_server_that_cannot_start_says_where_its_log_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYNALAKE_LOCAL_PYTHON", "/bin/false")
    aws = LocalAws(log=tmp_path / "server.log", state_dir=tmp_path / "state")
    with pytest.raises(ServerStartError, match=r"server\.log"):
        aws.start()
    assert not list((tmp_path / "state").iterdir())


def test_the_log_lists_every_correction(local_aws: LocalAws) -> None:
    assert "\nkinesis._put_record: " in local_aws.log.read_text()


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    # An ended orphan may be a zombie until its new parent reaps it.
    status = Path(f"/proc/{process}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"
