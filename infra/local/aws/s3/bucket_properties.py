"""The S3 bucket properties of a CloudFormation template, applied through the S3 API.

https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-s3-bucket.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import botocore.session
from botocore.serialize import create_serializer
from ministack.services import s3

from infra.local.aws.cloudwatch import emitted_metrics
from infra.local.aws.responses import require_success

Properties = Mapping[str, Any]

_ACTIONS = ("NoncurrentVersionExpiration", "AbortIncompleteMultipartUpload")
_API: Any = botocore.session.get_session().get_service_model("s3")


def apply(bucket: str, old: Properties, new: Properties) -> None:
    """Apply the template's configuration to the bucket. Raises `ValueError` with S3's message."""
    for name, (operation, put, delete, parameters) in _PROPERTIES.items():
        if new.get(name):
            require_success(put(bucket, _body(operation, parameters(new[name]))))
        elif old.get(name):
            require_success(delete(bucket))
    emitted_metrics.watch(bucket, new.get("MetricsConfigurations") or [])


def _body(operation: str, parameters: Properties) -> bytes:
    model = _API.operation_model(operation)
    payload = model.input_shape.serialization["payload"]
    # A template's numbers may arrive as strings, which a validation would refuse.
    serializer = create_serializer("rest-xml", include_validation=False)
    request = serializer.serialize_to_request({"Bucket": "-", payload: parameters}, model)
    return bytes(request["body"])


def _lifecycle(configuration: Properties) -> Properties:
    return {"Rules": [_lifecycle_rule(rule) for rule in configuration["Rules"]]}


def _lifecycle_rule(rule: Properties) -> Properties:
    expiration = {"ExpirationInDays": "Days", "ExpiredObjectDeleteMarker": "ExpiredObjectDeleteMarker"}
    kept = {"Id": "ID", **{name: name for name in ("Status", *_ACTIONS)}}
    return {
        **_renamed(rule, kept),
        "Filter": {"Prefix": rule.get("Prefix", "")},
        **({"Expiration": _renamed(rule, expiration)} if rule.keys() & expiration.keys() else {}),
    }


def _renamed(properties: Properties, names: Mapping[str, str]) -> Properties:
    """Return the properties that have a name in the API, by that name."""
    return {names[name]: value for name, value in properties.items() if name in names}


def _encryption(configuration: Properties) -> Properties:
    names = {
        "ServerSideEncryptionByDefault": "ApplyServerSideEncryptionByDefault",
        "BucketKeyEnabled": "BucketKeyEnabled",
    }
    return {"Rules": [_renamed(rule, names) for rule in configuration["ServerSideEncryptionConfiguration"]]}


def _suspend(bucket: str) -> Any:
    return s3._put_bucket_versioning(bucket, _body("PutBucketVersioning", {"Status": "Suspended"}))


_PROPERTIES: Mapping[str, tuple[str, Callable[..., Any], Callable[[str], Any], Callable[[Any], Properties]]] = {
    "LifecycleConfiguration": (
        "PutBucketLifecycleConfiguration",
        s3._put_bucket_lifecycle,
        s3._delete_bucket_lifecycle,
        _lifecycle,
    ),
    "BucketEncryption": ("PutBucketEncryption", s3._put_bucket_encryption, s3._delete_bucket_encryption, _encryption),
    "Tags": ("PutBucketTagging", s3._put_bucket_tagging, s3._delete_bucket_tagging, lambda tags: {"TagSet": tags}),
    "VersioningConfiguration": ("PutBucketVersioning", s3._put_bucket_versioning, _suspend, dict),
    "OwnershipControls": (
        "PutBucketOwnershipControls",
        s3._put_bucket_ownership_controls,
        s3._delete_bucket_ownership_controls,
        dict,
    ),
}
"""For each property: the operation, ministack's functions for it and for its removal, and its parameters."""
