"""The forwarder's code as an archive whose bytes and name depend on its content alone."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import dynalake
from dynalake.aws.answers import code_of
from dynalake.aws.clients import Clients
from dynalake.capture.stacks.stacks import stack_state
from dynalake.names import Lake
from dynalake.sources import source_folder

SOURCE_VARIABLE = "DYNALAKE_LAMBDA_SOURCE"
"""Variable with the folder that holds `forwarder/` where that is not next to the plugins folder."""

# Files of the package that the handler imports; a test runs the archive by itself.
_SHIPPED = ("__init__.py", "days.py", "errors.py", "names.py", "record/*.py")


@dataclass(frozen=True)
class Package:
    """Code: its key in the lake's bucket and its bytes. An archive's key names its content."""

    key: str
    body: bytes
    content_type: str = "application/zip"


@dataclass(frozen=True)
class Code:
    """Code in the lake's bucket: its key and its version, '' where the bucket keeps none."""

    key: str
    version: str = ""


def build_package(lake: Lake, source: Path | None = None) -> Package:
    """Return the forwarder and what it imports; `source` is the folder that holds `forwarder/`."""
    files = dict(_files(source or lambda_source()))
    return Package(f"{lake.code_prefix}forwarder-{_digest(files)[:16]}.zip", archive_files(files))


def archive_files(files: Mapping[str, bytes]) -> bytes:
    """Return a zip archive of files by name: the same bytes for the same files, on any machine."""
    buffer = io.BytesIO()
    # Stored and not deflated: zlib's output differs between versions, and the archive is small.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            # 3 is Unix: Lambda reads no other system's permissions, whatever machine packs.
            entry.create_system = 3
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, files[name])
    return buffer.getvalue()


def place_code(clients: Clients, lake: Lake, package: Package) -> Code:
    """Return the forwarder's code as its stack has it; put it into the bucket if the stack has another, or no version.

    A version's content cannot change. The stack's version is from an earlier setup, or from Terraform, which packs the
    same files into other bytes.
    """
    planned = planned_code(clients, lake, package)
    return planned if planned.version else upload_package(clients, lake, package)


def planned_code(clients: Clients, lake: Lake, package: Package) -> Code:
    """Return the forwarder's code as its stack has it, or as it will be in the bucket, then without its version."""
    deployed = stack_state(clients, lake.forwarder_stack).parameters
    return Code(package.key, deployed.get("CodeVersion", "") if deployed.get("CodeKey") == package.key else "")


def upload_package(clients: Clients, lake: Lake, package: Package) -> Code:
    """Put code into the lake's bucket, unless the same bytes are there: anybody may have written that object.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
    """
    checksum = base64.b64encode(hashlib.sha256(package.body).digest()).decode()
    try:
        head = clients.s3.head_object(Bucket=lake.bucket, Key=package.key, ChecksumMode="ENABLED")
    except Exception as error:
        if code_of(error) not in ("404", "NoSuchKey", "NotFound"):
            raise
    else:
        if head.get("ChecksumSHA256") == checksum:
            return Code(package.key, _version(head.get("VersionId")))
    put = clients.s3.put_object(
        Bucket=lake.bucket,
        Key=package.key,
        Body=package.body,
        ContentType=package.content_type,
        ChecksumAlgorithm="SHA256",
        ChecksumSHA256=checksum,
    )
    return Code(package.key, _version(put.get("VersionId")))


def _version(version: str | None) -> str:
    """Return a version that cannot change; '' for `null`, which is overwritten where versioning is suspended."""
    return "" if version in (None, "null") else version


def lambda_source() -> Path:
    """Return the folder that holds `forwarder/`."""
    return source_folder("lambda_src", SOURCE_VARIABLE, "forwarder/*.py")


def _digest(files: dict[str, bytes]) -> str:
    # The key follows from `sha256sum`'s output for the files, not from the archive: so every packer of the same files
    # (Terraform is one, in infra/terraform/modules/forwarder/package.tf) gets the same key, and does not deploy the
    # other's code again.
    listed = (f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files))
    return hashlib.sha256("".join(listed).encode()).hexdigest()


def _files(source: Path) -> list[tuple[str, bytes]]:
    handlers = sorted((source / "forwarder").glob("*.py"))
    root = Path(dynalake.__file__).parent
    shipped = [path for pattern in _SHIPPED for path in sorted(root.glob(pattern))]
    return [(path.relative_to(source).as_posix(), path.read_bytes()) for path in handlers] + [
        (path.relative_to(root.parent).as_posix(), path.read_bytes()) for path in shipped
    ]
