"""The lake's bucket: whether the storage stack makes it or it is there already."""

from __future__ import annotations

from botocore.exceptions import ClientError

from dynalake.capture.stacks import stack_state
from dynalake.clients import Clients
from dynalake.errors import SettingsError
from dynalake.names import Lake


def creates_bucket(clients: Clients, lake: Lake) -> bool:
    """What the storage stack's `CreateBucket` is to be.

    A stack that made the bucket goes on owning it. A bucket that is there without the stack (one that the user
    brings, or that outlived an earlier stack) is used as it is. Raises `SettingsError` where it may not be used.
    """
    deployed = stack_state(clients, lake.storage_stack)
    if deployed.exists and deployed.parameters.get("BucketName") == lake.bucket:
        return deployed.parameters.get("CreateBucket") == "true"
    try:
        clients.s3.head_bucket(Bucket=lake.bucket)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in ("404", "NoSuchBucket"):
            return True
        if code not in ("403", "301", "AccessDenied", "PermanentRedirect"):
            raise
        raise SettingsError(
            f"The bucket {lake.bucket!r} exists, but not for this account in region {lake.region}",
            allowed="a bucket of the lake's account and region that the AWS connection may use, or a new name",
            action="give another bucket, or grant s3:ListBucket on this one",
            bucket=lake.bucket,
        ) from error
    return False
