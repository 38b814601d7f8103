"""Trino ends with the process that started it, says why it did not start, and reads only local AWS's catalog."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from pyiceberg.catalog.glue import GlueCatalog
from pyiceberg.schema import Schema
from pyiceberg.types import LongType, NestedField

from infra.local.engines.trino import Trino
from infra.local.run.child import ServerStartError
from infra.local.run.process import LocalAws
from infra.local.trino.jars import REPOSITORY, Installation
from infra.local.trino.server import LocalTrino
from tests.support.waiting import eventually

START = """
import sys
from pathlib import Path
from infra.local.trino.jars import installed
from infra.local.trino.server import LocalTrino
LocalTrino(installed(), Path(sys.argv[1]), {name: "http://127.0.0.1:9" for name in sys.argv[2:]}).start()
"""


def servers(parent: int) -> list[int]:
    """Return the running Trinos that a process has started."""
    pids = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            status = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            command = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue  # it ended in the meantime
        if int(status[1]) == parent and b"LakeServer" in command:
            pids.append(int(entry.name))
    return pids


def state_dirs() -> set[Path]:
    return set((REPOSITORY / ".local").glob("trino-*"))


def test_it_ends_with_its_parent_and_leaves_no_files(installation: Installation, tmp_path: Path) -> None:
    before = state_dirs()
    variables = ["AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]
    command = [sys.executable, "-c", START, str(tmp_path / "log"), *variables]
    with subprocess.Popen(command, cwd=REPOSITORY) as parent:
        (server,) = eventually(lambda: servers(parent.pid))
        (folder,) = eventually(lambda: state_dirs() - before)
        eventually(lambda: list(folder.iterdir()))
        parent.send_signal(signal.SIGKILL)
    eventually(lambda: not Path(f"/proc/{server}").exists())
    assert not folder.exists()


def test_a_server_that_cannot_start_says_where_its_log_is(
    installation: Installation, local_aws: LocalAws, tmp_path: Path
) -> None:
    before = state_dirs()
    broken = replace(installation, server=tmp_path)
    with pytest.raises(ServerStartError, match=str(tmp_path / "log")):
        LocalTrino(broken, tmp_path / "log", local_aws.env()).start()
    assert "LakeServer" in (tmp_path / "log").read_text()
    assert state_dirs() == before


def test_settings_of_other_processes_do_not_reach_it(monkeypatch: pytest.MonkeyPatch, trino_server: LocalTrino) -> None:
    """It reads only local AWS, whatever the user's own profile and flags for other Java programs are."""
    monkeypatch.setenv("AWS_PROFILE", "work")
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Xmx64m")
    environment = trino_server._environment()
    assert not {"AWS_PROFILE", "JAVA_TOOL_OPTIONS"} & environment.keys()
    assert environment["PATH"] == os.environ["PATH"]


def test_a_query_with_two_columns_of_one_name_is_refused(trino: Trino) -> None:
    with pytest.raises(ValueError, match="Two columns have the same name"):
        trino("SELECT 1 AS a, 2 AS a")


def test_the_reading_catalog_changes_nothing(iceberg: GlueCatalog, database: str) -> None:
    schema = Schema(NestedField(1, "n", LongType()))
    with pytest.raises(PermissionError, match="received CreateTable"):
        iceberg.create_table(f"{database}.t", schema, location=f"s3://{database}/t")
    assert iceberg.list_tables(database) == []
