"""The forwarder's archive."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import boto3
import pytest

from dynalake.capture.package import build_package, lambda_source, upload_package
from dynalake.clients import Clients
from dynalake.errors import SettingsError
from dynalake.names import Lake

LAKE = Lake("dev", "123456789012", "us-east-1")


@pytest.fixture
def clients(mocked: boto3.Session) -> Clients:
    made = Clients.of(mocked)
    made.s3.create_bucket(Bucket=LAKE.bucket)
    return made


def test_the_archive_depends_on_its_content_only(tmp_path: Path) -> None:
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


def test_the_key_names_the_files_and_not_the_archive(tmp_path: Path) -> None:
    """What `sha256sum` of the unpacked files says: so another tool that packs them can have the same key."""
    package = build_package(LAKE)
    with zipfile.ZipFile(io.BytesIO(package.body)) as archive:
        archive.extractall(tmp_path)
        names = sorted(archive.namelist())
    listed = subprocess.run(["sha256sum", *names], cwd=tmp_path, capture_output=True, check=True).stdout
    assert package.key == f"dynalake-code/forwarder-{hashlib.sha256(listed).hexdigest()[:16]}.zip"


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


def test_the_archive_holds_sources_that_lambda_may_read() -> None:
    with zipfile.ZipFile(io.BytesIO(build_package(LAKE).body)) as archive:
        assert archive.testzip() is None
        assert all(entry.filename.endswith(".py") for entry in archive.infolist())
        assert {entry.external_attr >> 16 & 0o777 for entry in archive.infolist()} == {0o644}


def test_it_is_uploaded_once(clients: Clients) -> None:
    package = build_package(LAKE)
    assert upload_package(clients, LAKE, package)
    assert not upload_package(clients, LAKE, package)
    assert clients.s3.get_object(Bucket=LAKE.bucket, Key=package.key)["Body"].read() == package.body


def test_a_missing_source_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DYNALAKE_LAMBDA_SOURCE", str(tmp_path))
    with pytest.raises(SettingsError, match="DYNALAKE_LAMBDA_SOURCE"):
        build_package(LAKE)
