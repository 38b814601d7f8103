"""Where a run works: an account and region, an environment of its own, and stacks that carry its tag."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from botocore.config import Config
from botocore.exceptions import ClientError

from dynalake.names import Lake

T = TypeVar("T")

TAG = "dynalake:environment"
"""The tag of all that dynalake makes, whose value is the environment."""
ENVIRONMENTS = "conformance-"
"""What the environments of all runs begin with."""
FORBIDDEN = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation")
PROPAGATION_SECONDS = 120
"""How long a new role or policy may be unknown to some part of AWS."""
_UNKNOWN_ROLE = "cannot be assumed"

Statement = Mapping[str, Any]


class Stopped(Exception):
    """Somebody stopped the run."""


class RefusedError(Exception):
    """CloudFormation could not make a resource; the text is AWS's reason."""


class Place:
    """`aws`: the variables by which another process finds the same credentials. `local`: local AWS.

    `time_scale`: how many times faster than on AWS time passes.
    """

    def __init__(
        self,
        session: Any,
        environment: str,
        aws: Mapping[str, str],
        *,
        endpoint_url: str | None = None,
        time_scale: float = 1.0,
    ) -> None:
        self.aws, self.local, self.time_scale = dict(aws), endpoint_url is not None, time_scale
        self.session, self._endpoint_url = session, endpoint_url
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        identity = self.client("sts").get_caller_identity()
        self.account, self.partition = identity["Account"], identity["Arn"].split(":")[1]
        self.lake = Lake(environment, self.account, self.client("sts").meta.region_name)
        self.base: Mapping[str, str] = {}
        """The physical ids of what the experiments share; see `infra.conformance.base`."""

    @property
    def region(self) -> str:
        return self.lake.region

    def client(self, service: str) -> Any:
        """The administrator's client of a service."""
        with self._lock:
            if service not in self._clients:
                self._clients[service] = self._connect(self.session, service)
            return self._clients[service]

    def _connect(self, session: Any, service: str) -> Any:
        retries = Config(retries={"mode": "adaptive", "max_attempts": 10})
        return session.client(service, endpoint_url=self._endpoint_url, config=retries)

    def arn(self, service: str, resource: str) -> str:
        """An ARN of this account and region. S3 and IAM know no region, and S3 no account."""
        region = "" if service in ("s3", "iam") else self.region
        return f"arn:{self.partition}:{service}:{region}:{'' if service == 's3' else self.account}:{resource}"

    # -- time ----------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Let every wait raise `Stopped`."""
        self._stop.set()

    def go_on(self) -> None:
        """Let one wait again: what was made is still to be removed."""
        self._stop.clear()

    def wait(self, seconds: float) -> None:
        """Let so many of AWS's seconds pass."""
        if self._stop.wait(seconds / self.time_scale):
            raise Stopped

    def until(self, see: Callable[[], T], enough: Callable[[T], object] = bool, *, seconds: float = 900) -> T:
        """What `see` answers once it is enough; TimeoutError with its last answer after so many of AWS's seconds.

        A local AWS is never waited for less than a minute: the machine may be busy.
        """
        deadline = time.monotonic() + max(seconds / self.time_scale, 60)
        while not enough(answer := see()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {seconds:g} s; the last answer: {answer!r}")
            self.wait(3)
        return answer

    # -- stacks --------------------------------------------------------------------------------------------------

    @property
    def tags(self) -> list[dict[str, str]]:
        return [{"Key": TAG, "Value": self.lake.environment}]

    def stack_name(self, name: str) -> str:
        return f"{self.lake.stack_prefix}-{name}"

    def stack(
        self, name: str, template: Mapping[str, Any] | str, parameters: Mapping[str, str] | None = None, **more: Any
    ) -> dict[str, str]:
        """Make a stack of resources, or of a template's text; the physical ids by logical ones, and the outputs.

        Raises `RefusedError` with AWS's reason where a resource cannot be made; nothing is left of such a stack.
        """
        stacks = self.client("cloudformation")
        body = template if isinstance(template, str) else json.dumps({"Resources": template})
        request = {
            "StackName": self.stack_name(name),
            "TemplateBody": body,
            "Parameters": [{"ParameterKey": key, "ParameterValue": value} for key, value in (parameters or {}).items()],
            "Capabilities": ["CAPABILITY_IAM"],
            "Tags": self.tags,
            "OnFailure": "DELETE",
            **more,
        }
        made = self.patiently(lambda: stacks.create_stack(**request))["StackId"]

        def described() -> Any:
            return stacks.describe_stacks(StackName=made)["Stacks"][0]

        found = self.until(described, lambda stack: not stack["StackStatus"].endswith("IN_PROGRESS"))
        if found["StackStatus"] != "CREATE_COMPLETE":
            raise RefusedError(self._why(made))
        resources = stacks.describe_stack_resources(StackName=made)["StackResources"]
        outputs = {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", [])}
        return {r["LogicalResourceId"]: r["PhysicalResourceId"] for r in resources} | outputs

    def _why(self, stack: str) -> str:
        """The first reason why a resource failed."""
        events = self.client("cloudformation").describe_stack_events(StackName=stack)["StackEvents"]
        reasons = [e.get("ResourceStatusReason", "") for e in events if e["ResourceStatus"].endswith("_FAILED")]
        return next(filter(None, reversed(reasons)), "no reason is given")

    # -- rights --------------------------------------------------------------------------------------------------

    def assume(self, role: str, *allowed: Statement, seconds: int = 3600) -> Callable[[str], Any]:
        """Makes clients in a role of the account, which may do only what both the role and `allowed` allow."""
        request: dict[str, Any] = {"RoleArn": self.arn("iam", f"role/{role}"), "DurationSeconds": seconds}
        if allowed:
            request["Policy"] = json.dumps({"Version": "2012-10-17", "Statement": list(allowed)})

        def take() -> Any:
            return self.client("sts").assume_role(RoleSessionName=f"conformance-{secrets.token_hex(4)}", **request)[
                "Credentials"
            ]

        taken = self.patiently(take)
        import boto3

        session = boto3.Session(
            taken["AccessKeyId"], taken["SecretAccessKey"], taken["SessionToken"], region_name=self.region
        )
        return lambda service: self._connect(session, service)

    def patiently(self, call: Callable[[], T]) -> T:
        """What a call answers, which is tried again while a new role or policy may not be known everywhere."""
        deadline = time.monotonic() + PROPAGATION_SECONDS / self.time_scale
        while True:
            try:
                return call()
            except ClientError as error:
                unknown = error.response["Error"]["Code"] in FORBIDDEN or _UNKNOWN_ROLE in str(error)
                if not unknown or time.monotonic() > deadline:
                    raise
            self.wait(5)

    def permits(self, call: Callable[[], object]) -> str:
        """`allowed` or `refused`: whether AWS carries out a call, as far as rights go."""
        try:
            self.patiently(call)
        except ClientError as error:
            if error.response["Error"]["Code"] not in FORBIDDEN:
                raise
            return "refused"
        return "allowed"


def allow(actions: Sequence[str], *resources: object) -> Statement:
    """A statement of a policy."""
    return {"Effect": "Allow", "Action": list(actions), "Resource": list(resources) or ["*"]}
