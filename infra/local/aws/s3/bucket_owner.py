"""The owner of a bucket: checked against a request's expected owner, and given to policy conditions.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-owner-condition.html
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html#condition-keys-resourceaccount
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from ministack.core import iam_evaluator
from ministack.services import s3

from infra.local.aws.patch import Original, patch

_KEYS = ("aws:resourceaccount", "s3:resourceaccount")
_BUCKETS = "arn:aws:s3:::"


@patch(s3, "_apply_bucket_scope")
def scope(original: Original, method: str, bucket: str, key: str, headers: Any, *rest: Any, **options: Any) -> Any:
    """Refuse a request that expects another owner."""
    source = unquote(headers.get("x-amz-copy-source", "")).lstrip("/").partition("/")[0]
    for name, header in ((bucket, "x-amz-expected-bucket-owner"), (source, "x-amz-source-expected-bucket-owner")):
        expected, owner = headers.get(header), s3._bucket_owner_account(name) if name else None
        if expected and owner and expected != owner:
            return s3._error("AccessDenied", "Access Denied", 403, f"/{bucket}/{key}")
    return original(method, bucket, key, headers, *rest, **options)


@patch(iam_evaluator, "_resolve_condition_key")
def resolve_condition_key(original: Original, key: str, context: Any) -> Any:
    """Give conditions the bucket's owner."""
    if key.lower() in _KEYS and context.resource_arn.startswith(_BUCKETS):
        bucket = context.resource_arn.removeprefix(_BUCKETS).partition("/")[0]
        # A bucket that does not exist yet has no owner, unless the request names one.
        return s3._bucket_owner_account(bucket) or context.service_context.get(_KEYS[0])
    return original(key, context)
