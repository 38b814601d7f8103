"""Exports to S3 as DynamoDB documents them."""

from __future__ import annotations

import gzip
import hashlib
import json
import time
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra.local.run.process import LocalAws
from tests.support.waiting import eventually

Client = Callable[[str], Any]


@pytest.fixture
def table(client: Client, name: str, make_table: Any) -> str:
    """A table with point-in-time recovery; its ARN."""
    make_table(name)
    client("dynamodb").update_continuous_backups(
        TableName=name, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
    )
    return str(client("dynamodb").describe_table(TableName=name)["Table"]["TableArn"])


@pytest.fixture
def finished(client: Client) -> Callable[[str], dict[str, Any]]:
    def wait(arn: str) -> dict[str, Any]:
        def look() -> Any:
            description = client("dynamodb").describe_export(ExportArn=arn)["ExportDescription"]
            return description["ExportStatus"] != "IN_PROGRESS" and description

        return dict(eventually(look))

    return wait


def put(client: Client, name: str, *items: dict[str, Any]) -> None:
    for item in items:
        client("dynamodb").put_item(TableName=name, Item=item)


def exported(client: Client, bucket: str, description: dict[str, Any]) -> list[dict[str, Any]]:
    """Return every line of the data files in the manifest, after a check of their checksums."""
    s3 = client("s3")

    def read(key: str) -> bytes:
        return bytes(s3.get_object(Bucket=bucket, Key=key)["Body"].read())

    summary = json.loads(read(description["ExportManifest"]))
    lines = []
    for entry in map(json.loads, read(summary["manifestFilesS3Key"]).splitlines()):
        assert sorted(entry) == ["dataFileS3Key", "etag", "itemCount", "md5Checksum"]
        body = read(entry["dataFileS3Key"])
        assert entry["etag"] == s3.head_object(Bucket=bucket, Key=entry["dataFileS3Key"])["ETag"].strip('"')
        assert entry["md5Checksum"] == b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        items = [json.loads(line) for line in gzip.decompress(body).splitlines()]
        assert entry["itemCount"] == len(items)
        lines += items
    assert summary["itemCount"] == description["ItemCount"] == len(lines)
    for part in ("manifest-files", "manifest-summary"):
        folder = description["ExportManifest"].rpartition("/")[0]
        body = read(f"{folder}/{part}.json")
        md5 = b64encode(hashlib.md5(body, usedforsecurity=False).digest())
        assert read(f"{folder}/{part}.md5") == md5
    return lines


def test_a_full_export_is_one_file_per_partition_and_two_manifests(
    client: Client, name: str, bucket: str, table: str, finished: Any
) -> None:
    """https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/S3DataExport.Output.html#full-export-output"""
    items = [{"id": {"S": f"r-{n}"}, "n": {"N": "1.50"}, "b": {"B": b"\x00"}, "s": {"SS": ["a"]}} for n in range(20)]
    put(client, name, *items)
    started = client("dynamodb").export_table_to_point_in_time(TableArn=table, S3Bucket=bucket, S3Prefix="some/where/")
    description = started["ExportDescription"]
    assert (description["ExportStatus"], description["ExportType"]) == ("IN_PROGRESS", "FULL_EXPORT")
    put(client, name, {"id": {"S": "later"}})
    described = finished(description["ExportArn"])
    assert described["ExportStatus"] == "COMPLETED"
    lines = exported(client, bucket, described)
    assert sorted(line["Item"]["id"]["S"] for line in lines) == sorted(item["id"]["S"] for item in items)  # type: ignore[index]
    assert all(sorted(line) == ["Item"] for line in lines)
    assert lines[0]["Item"]["b"] == {"B": "AA=="}
    assert lines[0]["Item"]["n"] == {"N": "1.5"}
    keys = [o["Key"] for o in client("s3").list_objects_v2(Bucket=bucket)["Contents"]]
    root = f"some/where/AWSDynamoDB/{description['ExportArn'].rpartition('/')[2]}/"
    assert all(key.startswith(root) for key in keys)
    assert len([key for key in keys if key.startswith(f"{root}data/") and key.endswith(".json.gz")]) > 1
    assert f"{root}_started" in keys
    assert described["ExportTime"] == described["StartTime"]


def test_an_empty_table_gives_empty_files(client: Client, name: str, bucket: str, table: str, finished: Any) -> None:
    """https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/S3DataExport.Output.html"""
    arn = client("dynamodb").export_table_to_point_in_time(TableArn=table, S3Bucket=bucket)["ExportDescription"][
        "ExportArn"
    ]
    assert exported(client, bucket, finished(arn)) == []


def test_an_export_shows_the_table_as_it_was(
    client: Client, name: str, bucket: str, table: str, finished: Any, local_aws: LocalAws
) -> None:
    """ExportTime: a snapshot of the table's state at this point in time.

    https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_ExportTableToPointInTime.html
    """
    dynamodb = client("dynamodb")
    put(client, name, {"id": {"S": "a"}, "v": {"N": "1"}}, {"id": {"S": "gone"}})
    age(local_aws, name, 3600)
    put(client, name, {"id": {"S": "a"}, "v": {"N": "2"}}, {"id": {"S": "new"}})
    dynamodb.delete_item(TableName=name, Key={"id": {"S": "gone"}})
    moment = int(time.time()) - 1800
    arn = dynamodb.export_table_to_point_in_time(TableArn=table, S3Bucket=bucket, ExportTime=moment)[
        "ExportDescription"
    ]["ExportArn"]
    items = {line["Item"]["id"]["S"]: line["Item"] for line in exported(client, bucket, finished(arn))}
    assert items == {"a": {"id": {"S": "a"}, "v": {"N": "1"}}, "gone": {"id": {"S": "gone"}}}
    backups = dynamodb.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
    assert backups["PointInTimeRecoveryDescription"]["EarliestRestorableDateTime"].timestamp() < moment
    with pytest.raises(ClientError, match="InvalidExportTimeException"):
        dynamodb.export_table_to_point_in_time(TableArn=table, S3Bucket=bucket, ExportTime=moment - 86400)


def age(local_aws: LocalAws, name: str, seconds: float) -> None:
    local_aws.call("POST", "/_dynalake/point-in-time-recovery", {"name": name, "seconds": seconds})


def test_an_incremental_export_has_the_final_states_of_a_window(
    client: Client, name: str, bucket: str, table: str, finished: Any, local_aws: LocalAws
) -> None:
    """Keys with the old and new images; items that were created and deleted in between are left out.

    The data files of all exports are in one folder.
    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/S3DataExport.Output.html#incremental-export-output
    """
    dynamodb = client("dynamodb")
    put(client, name, {"id": {"S": "same"}}, {"id": {"S": "changed"}, "v": {"N": "1"}}, {"id": {"S": "removed"}})
    age(local_aws, name, 3600)
    put(client, name, *({"id": {"S": "changed"}, "v": {"N": str(n)}} for n in (2, 3)), {"id": {"S": "made"}})
    put(client, name, {"id": {"S": "brief"}})
    for removed in ("removed", "brief"):
        dynamodb.delete_item(TableName=name, Key={"id": {"S": removed}})
    age(local_aws, name, 3600)
    put(client, name, {"id": {"S": "changed"}, "v": {"N": "4"}})
    window = {"ExportFromTime": int(time.time()) - 5000, "ExportToTime": int(time.time()) - 1000}

    def export(**more: Any) -> list[dict[str, Any]]:
        description = dynamodb.export_table_to_point_in_time(
            TableArn=table,
            S3Bucket=bucket,
            ExportType="INCREMENTAL_EXPORT",
            IncrementalExportSpecification={**window, **more},
        )["ExportDescription"]
        return exported(client, bucket, finished(description["ExportArn"]))

    items = {line["Keys"]["id"]["S"]: line for line in export()}
    times = [int(line.pop("Metadata")["WriteTimestampMicros"]["N"]) for line in items.values()]
    assert all(window["ExportFromTime"] <= moment / 1e6 < window["ExportToTime"] for moment in times)
    changed = {"id": {"S": "changed"}}
    assert items == {
        "changed": {
            "Keys": changed,
            "OldImage": {**changed, "v": {"N": "1"}},
            "NewImage": {**changed, "v": {"N": "3"}},
        },
        "made": {"Keys": {"id": {"S": "made"}}, "NewImage": {"id": {"S": "made"}}},
        "removed": {"Keys": {"id": {"S": "removed"}}, "OldImage": {"id": {"S": "removed"}}},
    }
    shapes = {line["Keys"]["id"]["S"]: set(line) - {"Metadata", "Keys"} for line in export(ExportViewType="NEW_IMAGE")}
    assert shapes == {"changed": {"NewImage"}, "made": {"NewImage"}, "removed": set()}
    keys = [o["Key"] for o in client("s3").list_objects_v2(Bucket=bucket)["Contents"]]
    assert {key.rpartition("/")[0] for key in keys if key.endswith(".gz")} == {"AWSDynamoDB/data"}
    for wrong in ({"ExportToTime": window["ExportFromTime"] + 60}, {"ExportFromTime": window["ExportToTime"] - 90_000}):
        with pytest.raises(ClientError, match="between 15 minutes and 24 hours"):
            export(**wrong)


def test_the_same_token_is_the_same_export(client: Client, name: str, bucket: str, table: str) -> None:
    """Idempotent by ClientToken; with other parameters it is a conflict.

    https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_ExportTableToPointInTime.html
    """
    dynamodb = client("dynamodb")
    request = {"TableArn": table, "S3Bucket": bucket, "ClientToken": f"token-{name}"}
    first = dynamodb.export_table_to_point_in_time(**request)["ExportDescription"]
    assert dynamodb.export_table_to_point_in_time(**request)["ExportDescription"]["ExportArn"] == first["ExportArn"]
    with pytest.raises(ClientError, match="ExportConflictException"):
        dynamodb.export_table_to_point_in_time(**request, S3Prefix="other")
    listed = dynamodb.list_exports(TableArn=table)["ExportSummaries"]
    assert [export["ExportArn"] for export in listed] == [first["ExportArn"]]


@pytest.mark.parametrize("customers", [True, False])
def test_files_have_the_requested_key(
    client: Client, name: str, bucket: str, table: str, finished: Any, customers: bool
) -> None:
    """By default DynamoDB encrypts with S3's own keys, whatever the bucket's default is.

    https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_ExportTableToPointInTime.html
    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/S3DataExport.Output.html
    """
    key = client("kms").create_key()["KeyMetadata"]["Arn"]
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}}
    client("s3").put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
    encryption = {"S3SseAlgorithm": "KMS", "S3SseKmsKeyId": key} if customers else {}
    started = client("dynamodb").export_table_to_point_in_time(TableArn=table, S3Bucket=bucket, **encryption)
    described = finished(started["ExportDescription"]["ExportArn"])
    summary = client("s3").get_object(Bucket=bucket, Key=described["ExportManifest"])
    content = json.loads(summary["Body"].read())
    assert (content["s3SseAlgorithm"], content["s3SseKmsKeyId"]) == (("KMS", key) if customers else ("AES256", None))
    for entry in client("s3").list_objects_v2(Bucket=bucket)["Contents"]:
        head = client("s3").head_object(Bucket=bucket, Key=entry["Key"])
        actual = head["ServerSideEncryption"], head.get("SSEKMSKeyId")
        assert actual == (("aws:kms", key) if customers else ("AES256", None)), entry["Key"]


def test_invalid_exports_are_refused(client: Client, name: str, bucket: str, make_table: Any, finished: Any) -> None:
    """https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_ExportTableToPointInTime.html#Errors"""
    dynamodb = client("dynamodb")
    make_table(name)
    arn = dynamodb.describe_table(TableName=name)["Table"]["TableArn"]
    with pytest.raises(ClientError, match="PointInTimeRecoveryUnavailableException"):
        dynamodb.export_table_to_point_in_time(TableArn=arn, S3Bucket=bucket)
    with pytest.raises(ClientError, match="TableNotFoundException"):
        dynamodb.export_table_to_point_in_time(TableArn=f"{arn}-not", S3Bucket=bucket)
    dynamodb.update_continuous_backups(
        TableName=name, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
    )
    started = dynamodb.export_table_to_point_in_time(TableArn=arn, S3Bucket=f"{bucket}-not")["ExportDescription"]
    failed = finished(started["ExportArn"])
    assert (failed["ExportStatus"], failed["FailureCode"]) == ("FAILED", "S3NoSuchBucket")
    with pytest.raises(ClientError, match="ExportNotFoundException"):
        dynamodb.describe_export(ExportArn=f"{arn}/export/01234567890123-a1b2c3d4")
