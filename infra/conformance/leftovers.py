"""Find and remove the resources of runs by their tag: an earlier run's at the beginning, this run's at the end."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from infra.conformance.place import ENVIRONMENTS, TAG, Place

LAST = ("forwarder", "storage", "source", "base", "roles")
"""Stacks that others need, by the end of their names, in the order of their removal after the others."""
# Only runs use such names. A stack with only a change set has no tags yet.
_NAMED = re.compile(rf"dynalake-{ENVIRONMENTS}-?[0-9a-f]{{4}}-")


@dataclass(frozen=True)
class Leftovers:
    """Names of stacks, in the order of their removal, and of buckets."""

    stacks: tuple[str, ...]
    buckets: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.stacks or self.buckets)


def find_leftovers(place: Place) -> Leftovers:
    """Return the stacks and buckets of all runs in the account and region."""
    pages = place.client("cloudformation").get_paginator("describe_stacks").paginate()
    stacks = [stack for page in pages for stack in page["Stacks"] if stack["StackStatus"] != "DELETE_COMPLETE"]
    ours = [s["StackName"] for s in stacks if _tagged(s.get("Tags", [])) or _NAMED.match(s["StackName"])]
    buckets = [bucket["Name"] for bucket in place.client("s3").list_buckets()["Buckets"]]
    return Leftovers(
        tuple(sorted(ours, key=_rank)), tuple(b for b in buckets if b.startswith("dynalake-") and _owned(place, b))
    )


def _tagged(tags: list[dict[str, str]]) -> bool:
    return any(tag["Key"] == TAG and tag["Value"].startswith(ENVIRONMENTS) for tag in tags)


def _rank(stack: str) -> int:
    return next((number for number, name in enumerate(LAST, 1) if stack.endswith(f"-{name}")), 0)


def _owned(place: Place, bucket: str) -> bool:
    """Return whether a bucket is in this region, and has the tag or a run's name."""
    s3 = place.client("s3")
    try:
        region = s3.get_bucket_location(Bucket=bucket)["LocationConstraint"] or "us-east-1"
        if region != place.region or _NAMED.match(bucket):
            return region == place.region
        return _tagged(s3.get_bucket_tagging(Bucket=bucket)["TagSet"])
    except ClientError:
        return False  # it has no tags, or is gone


def remove(place: Place, say: Callable[[str], None]) -> list[str]:
    """Remove the stacks and buckets of all runs; return those that remain, each with AWS's reason."""
    leftovers = find_leftovers(place)
    failed = []
    for rank in range(len(LAST) + 1):
        stacks = [stack for stack in leftovers.stacks if _rank(stack) == rank]
        if stacks and rank == LAST.index("storage") + 1:
            for bucket in leftovers.buckets:
                _empty(place, bucket)
        for stack in stacks:
            place.client("cloudformation").delete_stack(StackName=stack)
        for stack in stacks:
            say(f"Removing {stack}")
            if problem := _wait(place, stack):
                failed.append(f"{stack}: {problem}")
    for bucket in find_leftovers(place).buckets:
        try:
            _empty(place, bucket)
            place.client("s3").delete_bucket(Bucket=bucket)
        except ClientError as error:
            failed.append(f"{bucket}: {error}")
    rest = find_leftovers(place)
    reported = {problem.partition(":")[0] for problem in failed}
    return failed + [f"{name}: it is still there" for name in rest.stacks + rest.buckets if name not in reported]


def _wait(place: Place, stack: str) -> str:
    """Wait until a stack is gone; return why it is not, or nothing."""

    def state() -> Any:
        try:
            return place.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
        except ClientError as error:
            if error.response["Error"]["Code"] != "ValidationError":
                raise
            return None

    try:
        last = place.until(state, lambda s: s is None or s["StackStatus"] in ("DELETE_COMPLETE", "DELETE_FAILED"))
    except TimeoutError as error:
        return str(error)
    return "" if last is None or last["StackStatus"] == "DELETE_COMPLETE" else str(last.get("StackStatusReason", ""))


def _empty(place: Place, bucket: str) -> None:
    """Delete every version of every object."""
    s3 = place.client("s3")
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        versions = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
        keys = [{"Key": version["Key"], "VersionId": version["VersionId"]} for version in versions]
        if keys:
            s3.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
