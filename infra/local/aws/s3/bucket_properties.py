"""The S3 bucket properties of a CloudFormation template, applied through the S3 API.

https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-s3-bucket.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

from ministack.services import s3

from infra.local.aws.cloudwatch import emitted_metrics
from infra.local.aws.responses import require_success

Properties = Mapping[str, Any]

_XML_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


def apply(bucket: str, old: Properties, new: Properties) -> None:
    """Apply the template's configuration to the bucket. Raises `ValueError` with S3's message."""
    lifecycle, encryption = new.get("LifecycleConfiguration"), new.get("BucketEncryption")
    tags, versioning = new.get("Tags"), new.get("VersioningConfiguration")
    ownership = new.get("OwnershipControls")
    if lifecycle:
        require_success(s3._put_bucket_lifecycle(bucket, _lifecycle(lifecycle)))
    elif old.get("LifecycleConfiguration"):
        require_success(s3._delete_bucket_lifecycle(bucket))
    if encryption:
        require_success(s3._put_bucket_encryption(bucket, _encryption(encryption)))
    elif old.get("BucketEncryption"):
        require_success(s3._delete_bucket_encryption(bucket))
    if tags:
        require_success(s3._put_bucket_tagging(bucket, _tagging(tags)))
    elif old.get("Tags"):
        require_success(s3._delete_bucket_tagging(bucket))
    if versioning:
        require_success(s3._put_bucket_versioning(bucket, _versioning(versioning)))
    elif old.get("VersioningConfiguration"):
        require_success(s3._put_bucket_versioning(bucket, _versioning({"Status": "Suspended"})))
    emitted_metrics.watch(bucket, new.get("MetricsConfigurations") or [])
    if ownership:
        require_success(s3._put_bucket_ownership_controls(bucket, _ownership(ownership)))


def _text(parent: Element, name: str, value: Any) -> None:
    if value is not None:
        text = str(value).lower() if isinstance(value, bool) else str(value)
        SubElement(parent, name).text = text


def _document(name: str) -> Element:
    return Element(name, {"xmlns": _XML_NAMESPACE})


def _lifecycle(configuration: Properties) -> bytes:
    root = _document("LifecycleConfiguration")
    for rule in configuration["Rules"]:
        element = SubElement(root, "Rule")
        _text(element, "ID", rule.get("Id"))
        _lifecycle_filter(element, rule)
        _text(element, "Status", rule["Status"])
        expiration = {
            "Days": rule.get("ExpirationInDays"),
            "Date": rule.get("ExpirationDate"),
            "ExpiredObjectDeleteMarker": rule.get("ExpiredObjectDeleteMarker"),
        }
        _members(element, "Expiration", expiration)
        _members(
            element,
            "NoncurrentVersionExpiration",
            rule.get("NoncurrentVersionExpiration")
            or {"NoncurrentDays": rule.get("NoncurrentVersionExpirationInDays")},
        )
        _members(element, "AbortIncompleteMultipartUpload", rule.get("AbortIncompleteMultipartUpload") or {})
        for transition in rule.get("Transitions") or []:
            members = {
                "Days": transition.get("TransitionInDays"),
                "Date": transition.get("TransitionDate"),
                "StorageClass": transition["StorageClass"],
            }
            _members(element, "Transition", members)
        for transition in rule.get("NoncurrentVersionTransitions") or []:
            members = {
                "NoncurrentDays": transition.get("TransitionInDays"),
                "NewerNoncurrentVersions": transition.get("NewerNoncurrentVersions"),
                "StorageClass": transition["StorageClass"],
            }
            _members(element, "NoncurrentVersionTransition", members)
    return tostring(root)


def _lifecycle_filter(element: Element, rule: Properties) -> None:
    sizes = {name: rule.get(name) for name in ("ObjectSizeGreaterThan", "ObjectSizeLessThan")}
    tags = rule.get("TagFilters") or []
    conditions = {"Prefix": rule.get("Prefix"), **sizes}
    given = [name for name, value in conditions.items() if value is not None]
    parent = SubElement(element, "Filter")
    if len(given) + len(tags) > 1:
        parent = SubElement(parent, "And")
    elif not given and not tags:
        SubElement(parent, "Prefix").text = ""
    for name in given:
        _text(parent, name, conditions[name])
    for tag in tags:
        _members(parent, "Tag", tag)


def _members(parent: Element, name: str, members: Properties) -> None:
    if any(value is not None for value in members.values()):
        element = SubElement(parent, name)
        for member, value in members.items():
            _text(element, member, value)


def _encryption(configuration: Properties) -> bytes:
    root = _document("ServerSideEncryptionConfiguration")
    for rule in configuration["ServerSideEncryptionConfiguration"]:
        element = SubElement(root, "Rule")
        _members(element, "ApplyServerSideEncryptionByDefault", rule.get("ServerSideEncryptionByDefault") or {})
        _text(element, "BucketKeyEnabled", str(rule.get("BucketKeyEnabled", False)).lower())
    return tostring(root)


def _tagging(tags: list[Properties]) -> bytes:
    root = _document("Tagging")
    tag_set = SubElement(root, "TagSet")
    for tag in tags:
        _members(tag_set, "Tag", tag)
    return tostring(root)


def _versioning(configuration: Properties) -> bytes:
    root = _document("VersioningConfiguration")
    _text(root, "Status", configuration.get("Status"))
    return tostring(root)


def _ownership(controls: Properties) -> bytes:
    root = _document("OwnershipControls")
    for rule in controls["Rules"]:
        _members(root, "Rule", rule)
    return tostring(root)
