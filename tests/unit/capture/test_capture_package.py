"""The forwarder's archive."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import boto3
import pytest

from dynalake.aws.clients import Clients
from dynalake.capture.stacks import package
from dynalake.capture.stacks.package import Code, build_package, lambda_source, place_code, upload_package
from dynalake.capture.stacks.stacks import StackState
from dynalake.errors import SettingsError
from dynalake.names import Lake

LAKE = Lake("dev", "123456789012", "us-east-1")


@pytest.fixture
def clients(mocked: boto3.Session) -> Clients:
    clients = Clients.of(mocked)
    clients.s3.create_bucket(Bucket=LAKE.bucket)
    return clients


def test_the_archive_depends_only_on_its_content(tmp_path: Path) -> None:
    first = build_package(LAKE)
    assert build_package(LAKE) == first
    assert first.key.startswith("dynalake-code/forwarder-")
    copied = tmp_path / "forwarder"
    copied.mkdir()
    for path in (lambda_source() / "forwarder").glob("*.py"):
        (copied / path.name).write_bytes(path.read_bytes())
    assert build_package(LAKE, tmp_path) == first
    (copied / "packing.py").write_text("# changed\n")
    assert build_package(LAKE, tmp_path).key != first.key


def test_the_key_depends_on_the_files_and_not_on_the_archive(tmp_path: Path) -> None:
    """The key is the `sha256sum` of the unpacked files, so that another packaging tool can compute the same one."""
    built = build_package(LAKE)
    with zipfile.ZipFile(io.BytesIO(built.body)) as archive:
        archive.extractall(tmp_path)
        names = sorted(archive.namelist())
    listed = subprocess.run(["sha256sum", *names], cwd=tmp_path, capture_output=True, check=True).stdout
    assert built.key == f"dynalake-code/forwarder-{hashlib.sha256(listed).hexdigest()[:16]}.zip"


def test_the_archive_runs_by_itself(tmp_path: Path) -> None:
    archive = tmp_path / "code.zip"
    archive.write_bytes(build_package(LAKE).body)
    code = (
        "import sys; sys.path[:] = [p for p in sys.path if 'plugins' not in p and 'lambda_src' not in p];"
        f"sys.path.insert(0, {str(archive)!r}); import forwarder.handler as h; import dynalake;"
        "print(h.__file__, dynalake.__file__)"
    )
    done = subprocess.run([sys.executable, "-E", "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.split() == [f"{archive}/forwarder/handler.py", f"{archive}/dynalake/__init__.py"]


def test_the_archive_has_sources_that_lambda_may_read() -> None:
    with zipfile.ZipFile(io.BytesIO(build_package(LAKE).body)) as archive:
        assert archive.testzip() is None
        assert all(entry.filename.endswith(".py") for entry in archive.infolist())
        assert {entry.external_attr >> 16 & 0o777 for entry in archive.infolist()} == {0o644}


@pytest.mark.parametrize("versioning", ["", "Enabled", "Suspended"])
def test_the_archive_is_uploaded_once_and_named_with_its_version(clients: Clients, versioning: str) -> None:
    if versioning:
        keep(clients, "Enabled")
        keep(clients, versioning)
    built = build_package(LAKE)
    code = upload_package(clients, LAKE, built)
    assert code.key == built.key
    assert bool(code.version) == (versioning == "Enabled")
    assert upload_package(clients, LAKE, built) == code
    assert read(clients, code) == built.body
    stored = clients.s3.list_object_versions(Bucket=LAKE.bucket, Prefix=built.key)["Versions"]
    assert len(stored) == 1


@pytest.mark.parametrize("versioned", [False, True])
def test_another_object_with_its_name_is_not_deployed(clients: Clients, versioned: bool) -> None:
    """Any writer of the bucket can put anything under the name, which follows from public code."""
    if versioned:
        keep(clients, "Enabled")
    built = build_package(LAKE)
    foreign = clients.s3.put_object(Bucket=LAKE.bucket, Key=built.key, Body=b"PK somebody else's code")
    code = upload_package(clients, LAKE, built)
    assert read(clients, code) == built.body
    assert code.version != foreign.get("VersionId", "none")
    # Also over our own object, after we have put it.
    clients.s3.put_object(Bucket=LAKE.bucket, Key=built.key, Body=b"PK again")
    again = upload_package(clients, LAKE, built)
    assert read(clients, again) == built.body
    if versioned:
        assert read(clients, code) == built.body


def test_the_version_that_the_stack_names_is_kept(clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    """Terraform packs the same files into other bytes: neither tool deploys the other's code again."""
    built = build_package(LAKE)
    for deployed, kept in (
        ({"CodeKey": built.key, "CodeVersion": "of-terraform"}, True),
        ({"CodeKey": built.key, "CodeVersion": ""}, False),
        ({"CodeKey": "dynalake-code/forwarder-0.zip", "CodeVersion": "older"}, False),
        ({}, False),
    ):
        state = StackState(LAKE.forwarder_stack, parameters=deployed)
        monkeypatch.setattr(package, "stack_state", lambda clients, name, state=state: state)
        code = place_code(clients, LAKE, built)
        assert code.key == built.key
        assert (code.version == "of-terraform") == kept
        assert kept or read(clients, code) == built.body


def keep(clients: Clients, status: Any) -> None:
    clients.s3.put_bucket_versioning(Bucket=LAKE.bucket, VersioningConfiguration={"Status": status})


def read(clients: Clients, code: Code) -> bytes:
    version: Any = {"VersionId": code.version} if code.version else {}
    return clients.s3.get_object(Bucket=LAKE.bucket, Key=code.key, **version)["Body"].read()


def test_an_error_names_a_missing_source(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DYNALAKE_LAMBDA_SOURCE", str(tmp_path))
    with pytest.raises(SettingsError, match="DYNALAKE_LAMBDA_SOURCE"):
        build_package(LAKE)
