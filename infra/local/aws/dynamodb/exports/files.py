"""The files of an export, as DynamoDB writes them.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/S3DataExport.Output.html
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from base64 import b64encode
from datetime import UTC, datetime
from typing import Any

from infra.local.aws.dynamodb.exports.history import Change
from infra.local.aws.s3 import objects

PARTITIONS = 4
"""The number of a table's partitions; each gets a file, even if it is empty."""

Failure = tuple[str, str]


def folder(description: dict[str, Any]) -> str:
    """Return the export's folder: `{S3Prefix}/AWSDynamoDB/{export id}/`."""
    return f"{_root(description)}{description['ExportArn'].rpartition('/')[2]}/"


def begin(description: dict[str, Any]) -> Failure | None:
    """Write the empty object `_started`, which shows that the bucket is writable."""
    return _put(description, f"{folder(description)}_started", b"")


def write(description: dict[str, Any], lines: list[tuple[str, str]]) -> Failure | None:
    """Write the data files, then the manifests with their checksums, and complete the description."""
    incremental = description["ExportType"] == "INCREMENTAL_EXPORT"
    # All incremental exports with the same prefix share a folder for data files.
    data = f"{_root(description) if incremental else folder(description)}data/"
    partitions: list[list[str]] = [[] for _ in range(PARTITIONS)]
    for key, line in lines:
        partitions[zlib.crc32(key.encode()) % PARTITIONS].append(line)
    entries = []
    for number, partition in enumerate(partitions):
        body = gzip.compress("".join(f"{line}\n" for line in partition).encode(), mtime=0)
        name = hashlib.sha256(f"{description['ExportArn']} {number}".encode()).hexdigest()[:26]
        key = f"{data}{name}.json.gz"
        status, etag = objects.put(description["S3Bucket"], key, body, _encryption(description))
        if status != 200:
            return _failure(status)
        entries.append({"itemCount": len(partition), "md5Checksum": _md5(body), "etag": etag, "dataFileS3Key": key})
    manifest = "".join(f"{json.dumps(entry, separators=(',', ':'))}\n" for entry in entries).encode()
    description["ItemCount"] = len(lines)
    description["BilledSizeBytes"] = sum(len(line) for _, line in lines)
    description["ExportManifest"] = f"{folder(description)}manifest-summary.json"
    summary = json.dumps(_summary(description), separators=(",", ":")).encode()
    for name, body in (("manifest-files", manifest), ("manifest-summary", summary)):
        for ending, content in (("json", body), ("md5", _md5(body).encode())):
            failure = _put(description, f"{folder(description)}{name}.{ending}", content)
            if failure is not None:
                return failure
    return None


def change_line(change: Change, view_type: str) -> str:
    """Return a line of an incremental export, with the old image only if the view type includes it."""
    parts = [f'"Metadata":{{"WriteTimestampMicros":{{"N":"{change.micros}"}}}}', f'"Keys":{change.key}']
    if change.before is not None and view_type == "NEW_AND_OLD_IMAGES":
        parts.append(f'"OldImage":{change.before}')
    if change.after is not None:
        parts.append(f'"NewImage":{change.after}')
    return f"{{{','.join(parts)}}}"


def _summary(description: dict[str, Any]) -> dict[str, Any]:
    incremental = description["ExportType"] == "INCREMENTAL_EXPORT"
    window = description.get("IncrementalExportSpecification", {})
    return {
        "version": "2023-08-01" if incremental else "2020-06-30",
        "exportArn": description["ExportArn"],
        "startTime": _iso(description["StartTime"]),
        "endTime": _iso(datetime.now(UTC).timestamp()),
        "tableArn": description["TableArn"],
        "tableId": description["TableId"],
        **(
            {"exportFromTime": _iso(window["ExportFromTime"]), "exportToTime": _iso(window["ExportToTime"])}
            if incremental
            else {"exportTime": _iso(description["ExportTime"])}
        ),
        "s3Bucket": description["S3Bucket"],
        "s3Prefix": description.get("S3Prefix"),
        "s3SseAlgorithm": description.get("S3SseAlgorithm", "AES256"),
        "s3SseKmsKeyId": description.get("S3SseKmsKeyId"),
        "manifestFilesS3Key": f"{folder(description)}manifest-files.json",
        "billedSizeBytes": description["BilledSizeBytes"],
        "itemCount": description["ItemCount"],
        "outputFormat": description["ExportFormat"],
        **({"outputView": window["ExportViewType"], "exportType": "INCREMENTAL_EXPORT"} if incremental else {}),
    }


def _root(description: dict[str, Any]) -> str:
    prefix = description.get("S3Prefix", "").rstrip("/")
    return f"{prefix}/AWSDynamoDB/" if prefix else "AWSDynamoDB/"


def _put(description: dict[str, Any], key: str, body: bytes) -> Failure | None:
    status, _ = objects.put(description["S3Bucket"], key, body, _encryption(description))
    return None if status == 200 else _failure(status)


def _encryption(description: dict[str, Any]) -> dict[str, str]:
    """Return the headers for encryption: S3's own keys unless the request names KMS, whatever the bucket's default."""
    if description.get("S3SseAlgorithm") != "KMS":
        return {"x-amz-server-side-encryption": "AES256"}
    key = {"x-amz-server-side-encryption-aws-kms-key-id": description.get("S3SseKmsKeyId", "")}
    return {"x-amz-server-side-encryption": "aws:kms", **{name: value for name, value in key.items() if value}}


def _failure(status: int) -> Failure:
    if status == 404:
        return "S3NoSuchBucket", "The specified bucket does not exist"
    return "S3AccessDenied", f"S3 answered {status}"


def _md5(body: bytes) -> str:
    return b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
