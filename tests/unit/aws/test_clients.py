"""What every client has in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import boto3

from dynalake.aws.clients import Clients

ACCOUNT = "123456789012"
# They are about no bucket that is there.
WITHOUT = {"CreateBucket", "ListBuckets", "ListDirectoryBuckets", "WriteGetObjectResponse"}


def test_every_call_to_a_bucket_gives_the_expected_owner(mocked: boto3.Session, tmp_path: Path) -> None:
    s3: Any = Clients.of(mocked).s3
    owners: list[tuple[str, Any]] = []
    s3.meta.events.register_last(
        "before-parameter-build.s3",
        lambda params, model, **_: owners.append((model.name, params.get("ExpectedBucketOwner"))),
    )
    s3.create_bucket(Bucket="lake")
    s3.put_object(Bucket="lake", Key="a", Body=b"1")
    s3.copy_object(Bucket="lake", Key="c", CopySource={"Bucket": "lake", "Key": "a"})
    s3.head_object(Bucket="lake", Key="a")
    s3.get_object(Bucket="lake", Key="a")
    list(s3.get_paginator("list_objects_v2").paginate(Bucket="lake"))
    list(s3.get_paginator("list_object_versions").paginate(Bucket="lake"))
    large = tmp_path / "large"
    large.write_bytes(b"x" * (9 << 20))
    s3.upload_file(str(large), "lake", "large")
    s3.delete_objects(Bucket="lake", Delete={"Objects": [{"Key": "a"}]})
    assert {name for name, _ in owners} >= {"UploadPart", "CompleteMultipartUpload", "ListObjectVersions", "CopyObject"}
    assert {name for name, owner in owners if owner != ACCOUNT} == {"CreateBucket"}


def test_no_operation_of_s3_is_missing(mocked: boto3.Session) -> None:
    clients = Clients.of(mocked)
    for name in clients.s3.meta.service_model.operation_names:
        model = clients.s3.meta.service_model.operation_model(name)
        parameters: dict[str, Any] = {}
        clients.s3.meta.events.emit("before-parameter-build.s3." + name, params=parameters, model=model, context={})
        takes = model.input_shape is not None and "ExpectedBucketOwner" in model.input_shape.members
        assert parameters.get("ExpectedBucketOwner") == (ACCOUNT if takes else None)
        assert takes or name in WITHOUT or "Directory" in name or name in ("CreateSession", "RenameObject")
    copy = clients.s3.meta.service_model.operation_model("CopyObject")
    parameters = {}
    clients.s3.meta.events.emit("before-parameter-build.s3.CopyObject", params=parameters, model=copy, context={})
    assert parameters["ExpectedSourceBucketOwner"] == ACCOUNT
