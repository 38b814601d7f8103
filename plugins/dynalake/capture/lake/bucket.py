"""The lake's bucket: whether the storage stack makes it or it exists already."""

from __future__ import annotations

from dynalake.aws.answers import code_of
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
"""Options that apply only to a bucket that the lake's stack made."""


def kept_bucket(lake: Lake) -> str:
    """Return the note for a lake whose bucket its storage stack did not make (pure)."""
    return (
        f"The bucket {lake.bucket} existed before the stack {lake.storage_stack} (you brought it, or an earlier stack "
        f"left it) and stays as it is. The options {', '.join(BUCKET_OPTIONS)} have no effect: the bucket keeps its "
        "own versioning, lifecycle rules, access log, encryption and policy, and no alarm reports rejected objects "
        "(the tables' own alarms and dynalake_watch do). Make sure that it expires old versions and incomplete "
        f"uploads, but nothing below {lake.prefix}/ and {lake.prefix}-state/"
    )


def creates_bucket(clients: Clients, lake: Lake) -> bool:
    """Return the value of the storage stack's `CreateBucket`.

    A stack that made the bucket keeps owning it. A bucket without the stack (one that the user brings, or that outlived
    an earlier stack) is used as it is. Raises `SettingsError` where it is another account's or another region's.
    """
    # Read the bucket first: if another run's stack is making it, it then counts as that stack's.
    region = bucket_region(clients, lake.bucket)
    deployed = stack_state(clients, lake.storage_stack)
    if deployed.exists and deployed.parameters.get("BucketName") == lake.bucket:
        return deployed.parameters.get("CreateBucket") == "true"
    if region and region != lake.region:
        raise SettingsError(
            f"The bucket {lake.bucket!r} is in region {region}, but the lake is in {lake.region}",
            allowed="a bucket in the lake's region: Lambda takes the forwarder's code from no other region",
            action="choose a bucket in that region, or set the bucket's region in the AWS connection",
            bucket=lake.bucket,
        )
    return not region


def bucket_region(clients: Clients, bucket: str) -> str:
    """Return the region of a bucket; '' where there is none. Raise `SettingsError` where it is another account's.

    HeadBucket is not enough: it refuses a caller that may not list the bucket, even where there is no bucket.
    https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketLocation.html
    """
    try:
        location = clients.s3.get_bucket_location(Bucket=bucket)["LocationConstraint"]
    except Exception as error:
        code = code_of(error)
        if code == "NoSuchBucket":
            return ""
        if code != "AccessDenied":
            raise
        raise SettingsError(
            f"The bucket {bucket!r} belongs to another account, or its region may not be read",
            allowed=f"a bucket of account {clients.account} that the AWS connection may use, or a new name",
            action="choose another bucket; if this one is yours, grant s3:GetBucketLocation on it",
            bucket=bucket,
        ) from error
    return {None: "us-east-1", "": "us-east-1", "EU": "eu-west-1"}.get(location, location)
