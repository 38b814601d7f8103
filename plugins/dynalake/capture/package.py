"""The forwarder's code as an archive whose bytes and name depend on nothing but its content."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from botocore.exceptions import ClientError

import dynalake
from dynalake.clients import Clients
from dynalake.names import Lake
from dynalake.sources import source_folder

SOURCE_VARIABLE = "DYNALAKE_LAMBDA_SOURCE"
"""Names the folder that holds `forwarder/` where it does not lie next to the plugins folder."""

# What the handler imports of the package; a test runs the archive by itself.
_SHIPPED = ("__init__.py", "days.py", "errors.py", "names.py", "record/*.py")


@dataclass(frozen=True)
class Package:
    """An archive: its key in the lake's bucket, which names its content, and its bytes."""

    key: str
    body: bytes


def build_package(lake: Lake, source: Path | None = None) -> Package:
    """The forwarder and what it imports; `source` is the folder that holds `forwarder/`."""
    files = dict(_files(source or lambda_source()))
    return Package(f"{lake.code_prefix}forwarder-{_digest(files)[:16]}.zip", archive_files(files))


def archive_files(files: Mapping[str, bytes]) -> bytes:
    """A zip archive of files by name: the same bytes for the same files, on any machine."""
    buffer = io.BytesIO()
    # Stored, not deflated: zlib's output differs between versions, and the archive is small.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            # The one system whose permissions Lambda reads, whatever system this runs on.
            entry.create_system = 3
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, files[name])
    return buffer.getvalue()


def upload_package(clients: Clients, lake: Lake, package: Package) -> bool:
    """Put the archive into the lake's bucket; False where it is there already."""
    try:
        clients.s3.head_object(Bucket=lake.bucket, Key=package.key)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("404", "NoSuchKey", "NotFound"):
            raise
    else:
        return False
    clients.s3.put_object(Bucket=lake.bucket, Key=package.key, Body=package.body, ContentType="application/zip")
    return True


def lambda_source() -> Path:
    """Return the folder that holds `forwarder/`."""
    return source_folder("lambda_src", SOURCE_VARIABLE, "forwarder/*.py")


def _digest(files: dict[str, bytes]) -> str:
    # Of what `sha256sum` prints of the files, not of the archive: so whatever packs the same files (Terraform does, in
    # infra/terraform/modules/forwarder/package.tf) gets the same key, and nobody deploys the other's code anew.
    listed = (f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files))
    return hashlib.sha256("".join(listed).encode()).hexdigest()


def _files(source: Path) -> list[tuple[str, bytes]]:
    handlers = sorted((source / "forwarder").glob("*.py"))
    root = Path(dynalake.__file__).parent
    shipped = [path for pattern in _SHIPPED for path in sorted(root.glob(pattern))]
    return [(path.relative_to(source).as_posix(), path.read_bytes()) for path in handlers] + [
        (path.relative_to(root.parent).as_posix(), path.read_bytes()) for path in shipped
    ]
