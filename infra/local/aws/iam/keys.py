"""The rights on a KMS key that a request needs besides its own action, if the key encrypts its data.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html
https://docs.aws.amazon.com/streams/latest/dev/permissions-user-key-KMS.html
https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html#sns-what-permissions-for-sse
"""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from ministack.core.responses import get_account_id, get_region
from ministack.services import kinesis, s3, sns

_S3 = {"s3:PutObject": "kms:GenerateDataKey", "s3:GetObject": "kms:Decrypt"}
_KINESIS = {
    "kinesis:PutRecord": "kms:GenerateDataKey",
    "kinesis:PutRecords": "kms:GenerateDataKey",
    "kinesis:GetRecords": "kms:Decrypt",
}
_SNS = ("kms:GenerateDataKey", "kms:Decrypt")
_MANAGED = "alias/aws/"


def implied(action: str, resource: str) -> list[tuple[str, str, dict[str, str]]]:
    """Return `(action, key's ARN, condition keys)` for the keys that a request to S3, Kinesis or SNS uses."""
    if action in _S3:
        key = _bucket_key(resource.rpartition(":")[2].partition("/")[0])
        return [(_S3[action], key, _via("s3"))] if key else []
    if action in _KINESIS:
        stream: dict[str, Any] = kinesis._streams.get(resource.rpartition("/")[2]) or {}
        key = str(stream.get("KeyId") or "")
        if key.startswith(_MANAGED):
            key = f"arn:aws:kms:{get_region()}:{get_account_id()}:key/{key.removeprefix('alias/').replace('/', '-')}"
        return [(_KINESIS[action], key, _via("kinesis"))] if key.startswith("arn:") else []
    if action == "sns:Publish":
        key = (sns._topics.get(resource) or {}).get("attributes", {}).get("KmsMasterKeyId", "")
        return [(needed, key, _via("sns")) for needed in _SNS] if key.startswith("arn:") else []
    return []


def is_managed(key: str) -> bool:
    """Return whether AWS manages the key. Its policy then lets the whole account use it, within boundaries.

    https://docs.aws.amazon.com/kms/latest/developerguide/concepts.html#aws-managed-key
    https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_boundaries.html
    """
    return ":key/aws-" in key


def _via(service: str) -> dict[str, str]:
    return {"kms:viaservice": f"{service}.{get_region()}.amazonaws.com"}


def _bucket_key(bucket: str) -> str:
    document = s3._bucket_encryption.get(bucket)
    if not document:
        return ""
    return ElementTree.fromstring(document).findtext(".//{*}KMSMasterKeyID") or ""
