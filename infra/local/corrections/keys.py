"""What a request needs of KMS besides its own action, where what it touches is encrypted with a customer's key.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html
https://docs.aws.amazon.com/streams/latest/dev/permissions-user-key-KMS.html
"""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from ministack.services import kinesis, s3

_S3 = {"s3:PutObject": "kms:GenerateDataKey", "s3:GetObject": "kms:Decrypt"}
_KINESIS = {
    "kinesis:PutRecord": "kms:GenerateDataKey",
    "kinesis:PutRecords": "kms:GenerateDataKey",
    "kinesis:GetRecords": "kms:Decrypt",
}


def implied(action: str, resource: str) -> list[tuple[str, str]]:
    """`(action, key's ARN)` of the customer's keys that a request to S3 or Kinesis uses; none for AWS's own keys."""
    if action in _S3:
        key = _bucket_key(resource.rpartition(":")[2].partition("/")[0])
        return [(_S3[action], key)] if key else []
    if action in _KINESIS:
        stream: dict[str, Any] = kinesis._streams.get(resource.rpartition("/")[2]) or {}
        key = str(stream.get("KeyId") or "")
        return [(_KINESIS[action], key)] if key.startswith("arn:") else []
    return []


def _bucket_key(bucket: str) -> str:
    document = s3._bucket_encryption.get(bucket)
    if not document:
        return ""
    return ElementTree.fromstring(document).findtext(".//{*}KMSMasterKeyID") or ""
