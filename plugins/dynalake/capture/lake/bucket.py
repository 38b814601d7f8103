"""The lake's bucket: whether the storage stack makes it or it exists already."""

from __future__ import annotations

from botocore.exceptions import ClientError

from dynalake.aws.clients import Clients
from dynalake.capture.stacks.stacks import stack_state
from dynalake.errors import SettingsError
from dynalake.names import Lake

BUCKET_OPTIONS = (
    "versioning",
    "noncurrent_days",
    "rejected_retention_days",
    "query_result_days",
    "access_log_bucket",
    "rejected_alarm_objects",
)
"""Options that a lake sets for a bucket that its stack has made, and for no other."""


def kept_bucket(lake: Lake) -> str:
    """Return the note for a lake whose bucket its storage stack did not make (pure)."""
    return (
        f"The bucket {lake.bucket} was there before the stack {lake.storage_stack}, brought or left by an earlier one, "
        f"and stays as it is. The options {', '.join(BUCKET_OPTIONS)} do nothing: versions, lifecycle rules, access "
        "log, encryption and policy are those that it has, and no alarm tells of rejected objects (the tables' own "
        "alarms and dynalake_watch do). See that it expires old versions and incomplete uploads, and nothing below "
        f"{lake.prefix}/ and {lake.prefix}-state/"
    )


def creates_bucket(clients: Clients, lake: Lake) -> bool:
    """Return the value of the storage stack's `CreateBucket`.

    A stack that made the bucket keeps owning it. A bucket without the stack (one that the user brings, or that outlived
    an earlier stack) is used as it is. Raises `SettingsError` where it is another account's or another region's.
    """
    # The bucket comes first: one that another run's stack is making is then seen as that stack's.
    region = bucket_region(clients, lake.bucket)
    deployed = stack_state(clients, lake.storage_stack)
    if deployed.exists and deployed.parameters.get("BucketName") == lake.bucket:
        return deployed.parameters.get("CreateBucket") == "true"
    if region and region != lake.region:
        raise SettingsError(
            f"The bucket {lake.bucket!r} is in region {region}, and the lake in {lake.region}",
            allowed="a bucket of the lake's region: Lambda takes the forwarder's code from no other",
            action="give a bucket of that region, or name the bucket's region in the AWS connection",
            bucket=lake.bucket,
        )
    return not region


def bucket_region(clients: Clients, bucket: str) -> str:
    """Return the region of a bucket; '' where there is none. Raise `SettingsError` where it is another account's.

    HeadBucket does not do: it refuses a caller that may not list the bucket, also where there is none.
    https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketLocation.html
    """
    try:
        place = clients.s3.get_bucket_location(Bucket=bucket)["LocationConstraint"]
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code == "NoSuchBucket":
            return ""
        if code != "AccessDenied":
            raise
        raise SettingsError(
            f"The bucket {bucket!r} is another account's, or may not be asked where it is",
            allowed=f"a bucket of account {clients.account} that the AWS connection may use, or a new name",
            action="give another bucket; if this one is yours, grant s3:GetBucketLocation on it",
            bucket=bucket,
        ) from error
    return {None: "us-east-1", "": "us-east-1", "EU": "eu-west-1"}.get(place, place)
