"""A DynamoDB table in memory that can be exported as DynamoDB documents it."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from base64 import b64encode
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from tests.unit.backfill.fakes import FakeTable, Item
from tests.unit.backfill.flow import NOW

ARN = "arn:aws:dynamodb:us-east-1:123456789012:table/RECEIPTS"


class FakeExports(FakeTable):
    """`FakeTable` with point-in-time recovery and exports into `s3`.

    An export is done after it was described `looks` times. `lines` are those of incremental exports by window start.
    """

    def __init__(
        self,
        items: Iterable[Item],
        s3: Any,
        *,
        files: int = 3,
        looks: int = 1,
        recovery: bool = True,
        lines: dict[int, list[dict[str, Any]]] | None = None,
    ) -> None:
        super().__init__(items)
        self.recovery = recovery
        self.exports: dict[str, dict[str, Any]] = {}
        self.failure: tuple[str, str] | None = None
        self.exported_at = NOW
        self._s3, self._files, self._looks, self._lines = s3, files, looks, lines or {}

    def describe_table(self, TableName: str) -> dict[str, Any]:
        answer = super().describe_table(TableName)
        answer["Table"]["TableArn"] = ARN
        return answer

    def describe_continuous_backups(self, TableName: str) -> dict[str, Any]:
        recovery: dict[str, Any] = {"PointInTimeRecoveryStatus": "ENABLED" if self.recovery else "DISABLED"}
        if self.recovery:
            recovery["EarliestRestorableDateTime"] = datetime(2019, 5, 1, tzinfo=UTC)
            recovery["LatestRestorableDateTime"] = NOW
        return {"ContinuousBackupsDescription": {"PointInTimeRecoveryDescription": recovery}}

    def update_continuous_backups(self, TableName: str, PointInTimeRecoverySpecification: dict[str, bool]) -> None:
        self.recovery = PointInTimeRecoverySpecification["PointInTimeRecoveryEnabled"]

    def batch_get_item(self, RequestItems: dict[str, Any], ReturnConsumedCapacity: str) -> dict[str, Any]:
        """Return the first key's item, and leave the others unprocessed."""
        ((name, keys),) = RequestItems.items()
        now, later = keys["Keys"][:1], keys["Keys"][1:]
        items = [self.items[key["id"]["S"]] for key in now if key["id"]["S"] in self.items]
        answer: dict[str, Any] = {"Responses": {name: [{"id": item["id"]} for item in items]}}
        return {**answer, "UnprocessedKeys": {name: {**keys, "Keys": later}} if later else {}}

    def export_table_to_point_in_time(self, **request: Any) -> dict[str, Any]:
        token = request["ClientToken"]
        if not self.recovery:
            raise ClientError(
                {"Error": {"Code": "PointInTimeRecoveryUnavailableException", "Message": "off"}}, "Export"
            )
        if token not in self.exports:
            # The id is derived from the token, so that two worlds with the same steps are alike.
            name = f"01558785600000-{hashlib.sha256(token.encode()).hexdigest()[:8]}"
            self.exports[token] = {
                "ExportArn": f"{ARN}/export/{name}",
                "ExportStatus": "IN_PROGRESS",
                "looks": self._looks,
                **request,
            }
        return {"ExportDescription": self.exports[token]}

    def describe_export(self, ExportArn: str) -> dict[str, Any]:
        (described,) = [export for export in self.exports.values() if export["ExportArn"] == ExportArn]
        if described["ExportStatus"] == "IN_PROGRESS":
            described["looks"] -= 1
            if described["looks"] < 0:
                self._finish(described)
        return {"ExportDescription": described}

    def _finish(self, export: dict[str, Any]) -> None:
        if self.failure:
            export["ExportStatus"] = "FAILED"
            export["FailureCode"], export["FailureMessage"] = self.failure
            return
        window = export.get("IncrementalExportSpecification")
        if window is None:
            export["ExportTime"] = self.exported_at
            lines = [{"Item": item} for item in self.items.values()]
        else:
            lines = self._lines.get(int(window["ExportFromTime"].timestamp()), [])
        root = f"{export['S3Prefix']}/AWSDynamoDB/"
        folder = f"{root}{export['ExportArn'].rpartition('/')[2]}/"
        entries = []
        for number in range(self._files):
            members = [
                json.dumps(line) for line in lines if zlib.crc32(json.dumps(line).encode()) % self._files == number
            ]
            body = gzip.compress("".join(f"{line}\n" for line in members).encode(), mtime=0)
            key = f"{folder if window is None else root}data/{export['ExportArn'][-8:]}{number}.json.gz"
            self._put(export, key, body)
            entries.append({"itemCount": len(members), "md5Checksum": md5(body), "etag": "x-1", "dataFileS3Key": key})
        manifest = "".join(json.dumps(entry) + "\n" for entry in entries).encode()
        summary = json.dumps({"itemCount": len(lines), "billedSizeBytes": 1000}).encode()
        for name, body in (("manifest-files", manifest), ("manifest-summary", summary)):
            self._put(export, f"{folder}{name}.json", body)
            self._put(export, f"{folder}{name}.md5", md5(body).encode())
        export["ItemCount"] = len(lines)
        export["ExportStatus"] = "COMPLETED"

    def _put(self, export: dict[str, Any], key: str, body: bytes) -> None:
        self._s3.put_object(Bucket=export["S3Bucket"], Key=key, Body=body)


def md5(body: bytes) -> str:
    return b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
