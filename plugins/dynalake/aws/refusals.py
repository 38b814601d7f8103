"""AWS's refusals and outages as errors that say who may not do what, and how to allow it.

https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
"""

from __future__ import annotations

import re

from botocore import exceptions
from botocore.exceptions import BotoCoreError, ClientError

from dynalake.aws.answers import code_of, message_of
from dynalake.errors import AccessError, DynalakeError, UnavailableError

AWS_ERRORS = (BotoCoreError, ClientError)
"""The errors of boto3."""

_REFUSED = ("AccessDenied", "AccessDeniedException", "AuthorizationError", "UnauthorizedOperation", "403")
_KEY_REFUSED = ("KMS.AccessDeniedException", "KMSAccessDeniedException", "KMSAccessDenied")
_EXPIRED = ("ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired")
_UNKNOWN = (
    "AuthFailure",
    "IncompleteSignature",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "InvalidToken",
    "MissingAuthenticationToken",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
)
# https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html
_THROTTLED = (
    "BandwidthLimitExceeded",
    "EC2ThrottledException",
    "KMSThrottlingException",
    "PriorRequestNotComplete",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "SlowDown",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
)
# Without a body S3 cannot say what was refused, and its actions have other names than its calls.
_ACTIONS = {
    "CopyObject": "s3:GetObject and s3:PutObject",
    "DeleteObjects": "s3:DeleteObject",
    "HeadBucket": "s3:ListBucket",
    "HeadObject": "s3:GetObject",
    "ListObjectVersions": "s3:ListBucketVersions",
    "ListObjectsV2": "s3:ListBucket",
}
_MISSING = (
    exceptions.NoCredentialsError,
    exceptions.PartialCredentialsError,
    exceptions.CredentialRetrievalError,
    exceptions.TokenRetrievalError,
    exceptions.ProfileNotFound,
)
_OUT_OF_REACH = (exceptions.HTTPClientError, exceptions.ConnectionError)

_SENTENCE = re.compile(
    r"(?P<who>arn:\S+) is not authorized to perform: (?P<what>[\w-]+:\w+)"
    r'(?: on resource: (?:"(?P<quoted>[^"]+)"|(?P<where>\S+)))?'
)
_DENIED = re.compile(r"with an explicit deny in (?:an? |the )?(?P<policy>[\w -]+?)(?: for |[:.]|$)")
_LACKING = re.compile(r"because no (?P<policy>[\w -]+?) allows")

# https://docs.aws.amazon.com/lake-formation/latest/dg/lake-formation-troubleshooting.html
_LAKE_FORMATION = re.compile(
    r"Insufficient Lake Formation permission\(s\)(?:: Required (?P<what>.+?) on (?P<where>\S+))?"
)

ROLES = "infra/cloudformation/airflow.yaml makes a role with the permissions that the DAGs need"


def is_throttled(error: Exception) -> bool:
    """Return whether AWS has refused a call because there were too many. It has not begun with such a call."""
    return code_of(error) in _THROTTLED


def explain(error: Exception, connection: str = "") -> DynalakeError | None:
    """Return the error to raise instead; None for one that is about neither access nor availability.

    `connection` names Airflow's AWS connection where there is one.
    """
    if isinstance(error, ClientError):
        return _explain_answer(error, connection)
    if isinstance(error, _MISSING):
        return AccessError(
            f"{_credentials(connection)} cannot be loaded: {error}",
            allowed="credentials in the connection, or a role of the machine that runs the task",
            action="put them into the connection, or role_arn into its extra, or give the worker a role",
            connection=connection,
        )
    if isinstance(error, exceptions.NoRegionError):
        return AccessError(
            "The AWS connection has no region",
            action='add {"region_name": "…"} to the connection\'s extra, or set AWS_DEFAULT_REGION',
            connection=connection,
        )
    if isinstance(error, _OUT_OF_REACH):
        return UnavailableError(
            f"AWS cannot be reached: {error}",
            action="wait: it is tried again. If it goes on, check the network and the connection's region and endpoint",
            connection=connection,
        )
    return None


def is_of_connection(error: Exception) -> bool:
    """Return whether the credentials, the region or the way to AWS are at fault, so that all calls would fail."""
    if isinstance(error, ClientError):
        return code_of(error) in (*_EXPIRED, *_UNKNOWN)
    return isinstance(error, (*_MISSING, exceptions.NoRegionError, *_OUT_OF_REACH))


def _explain_answer(error: ClientError, connection: str) -> DynalakeError | None:
    code, message = code_of(error), message_of(error).rstrip(".")
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in _EXPIRED:
        return AccessError(
            f"{_credentials(connection)} have expired ({error.operation_name}: {message or code})",
            allowed="credentials that are valid while the task runs",
            action="renew those in the connection; with role_arn in its extra Airflow renews them by itself",
            connection=connection,
        )
    if code in _UNKNOWN:
        return AccessError(
            f"{_credentials(connection)} are not known to AWS ({error.operation_name}: {message or code})",
            allowed="an active access key with its secret, and with its session token where it is temporary",
            action="correct the connection",
            connection=connection,
        )
    if code in (*_REFUSED, *_KEY_REFUSED):
        return _refusal(error.operation_name, code, message, connection)
    if code in _THROTTLED or status == 429:
        return UnavailableError(
            f"AWS throttles {error.operation_name}: {message or code}",
            action="wait: it is tried again. If it goes on, run fewer tasks at once or ask AWS for a higher quota",
            connection=connection,
        )
    if status >= 500:
        return UnavailableError(
            f"AWS fails at {error.operation_name} ({status} {code}): {message}",
            action="wait: it is tried again. If it goes on, check the AWS Health Dashboard",
            connection=connection,
        )
    return None


def _refusal(operation: str, code: str, message: str, connection: str) -> AccessError:
    if lacking := _LAKE_FORMATION.search(message):
        what = f"{lacking['what']} on {lacking['where']}" if lacking["what"] else "a permission that it does not name"
        return AccessError(
            f"Lake Formation refuses {operation}: {what} is not granted",
            allowed=f"Lake Formation's permission for the role of the AWS connection: {what}. IAM's is not enough",
            action="run dynalake_setup with lake_formation_writer_arn, or ask a Lake Formation administrator to grant "
            "it (docs/operations.md, An account with Lake Formation)",
            connection=connection,
            permission=what,
        )
    sentence = _SENTENCE.search(message)
    if sentence is None:
        what = _ACTIONS.get(operation, operation)
        return AccessError(
            f"AWS refuses {operation} ({code}{f': {message}' if message else ''}) and says neither to whom nor why",
            allowed=f"the permission {what} for the role of the AWS connection",
            action=f"grant it, and check the policies of the resource itself; {ROLES}",
            connection=connection,
            permission=what,
        )
    who, resource = _principal(sentence["who"]), sentence["quoted"] or (sentence["where"] or "").rstrip(".,")
    # Not every service names the resource.
    what = f"{sentence['what']} on {resource}" if resource else sentence["what"]
    reason, action = _why(message, what, who)
    return AccessError(
        f"AWS refuses {what} to {who}{reason}",
        allowed=f"the permission {what} for {who}",
        action=action,
        connection=connection,
        permission=sentence["what"],
        resource=resource,
        principal=sentence["who"],
    )


def _why(message: str, what: str, who: str) -> tuple[str, str]:
    """Return AWS's reason, and what to do about it."""
    if denied := _DENIED.search(message):
        policy = denied["policy"]
        return f": explicit deny in its {policy}", f"change that {policy}: other policies cannot override it"
    lacking = _LACKING.search(message)
    policy = lacking["policy"] if lacking else "identity-based policy"
    if policy != "identity-based policy":
        return f": no {policy} allows it", f"allow {what} in the {policy}, which bounds what {who} may do"
    if what.startswith("sts:AssumeRole"):
        return (
            "",
            f"let {who} assume it, and name {who} in its trust policy (TrustedPrincipalArns of the template airflow)",
        )
    return "", f"allow {what} in a policy of {who}; {ROLES}"


def _principal(arn: str) -> str:
    """Return `role NAME`, `user NAME`, or the ARN where it is neither."""
    if session := re.search(r":assumed-role/([^/]+)/", arn):
        return f"role {session[1]}"
    named = re.search(r":(role|user)/(?:.*/)?([^/]+)$", arn)
    return f"{named[1]} {named[2]}" if named else arn


def _credentials(connection: str) -> str:
    return f"The credentials of the AWS connection {connection!r}" if connection else "The AWS credentials"
