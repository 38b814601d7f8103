"""The place of a run: an account and region, its own environment, and stacks with its tag."""

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
"""The tag of all resources of dynalake; its value is the environment."""
ENVIRONMENTS = "conformance-"
"""The prefix of all runs' environments."""
FORBIDDEN = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation")
PROPAGATION_SECONDS = 120
"""The longest time that a new role or policy may be unknown to some part of AWS."""
_UNKNOWN_ROLE = "cannot be assumed"

Statement = Mapping[str, Any]


class Stopped(Exception):
    """The user stopped the run."""


class RefusedError(Exception):
    """CloudFormation could not create a resource; the message is AWS's reason."""


class Place:
    """The account and region of a run, and its clients. `local`: whether it is local AWS.

    `aws`: the variables that give another process the same credentials. `time_scale`: how much faster time passes.
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
        """The physical ids of the resources that experiments share; see `infra.conformance.base`."""

    @property
    def region(self) -> str:
        return self.lake.region

    def client(self, service: str) -> Any:
        """Return the administrator's client of a service."""
        with self._lock:
            if service not in self._clients:
                self._clients[service] = self._connect(self.session, service)
            return self._clients[service]

    def _connect(self, session: Any, service: str) -> Any:
        retries = Config(retries={"mode": "adaptive", "max_attempts": 10})
        return session.client(service, endpoint_url=self._endpoint_url, config=retries)

    def arn(self, service: str, resource: str) -> str:
        """Return an ARN of this account and region. ARNs of S3 and IAM have no region, those of S3 no account."""
        region = "" if service in ("s3", "iam") else self.region
        return f"arn:{self.partition}:{service}:{region}:{'' if service == 's3' else self.account}:{resource}"

    # -- time ----------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Make every wait raise `Stopped`."""
        self._stop.set()

    def go_on(self) -> None:
        """Allow waits again, for the removal of resources."""
        self._stop.clear()

    def wait(self, seconds: float) -> None:
        """Wait for this many AWS seconds. Raises `Stopped`."""
        if self._stop.wait(seconds / self.time_scale):
            raise Stopped

    def until(self, see: Callable[[], T], enough: Callable[[T], object] = bool, *, seconds: float = 900) -> T:
        """Call `see` until its answer is enough, and return it. Raises `TimeoutError` after `seconds` AWS seconds.

        On local AWS the limit is at least a minute, because the machine may be busy.
        """
        deadline = time.monotonic() + max(seconds / self.time_scale, 60)
        while not enough(answer := see()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not done within {seconds:g} s; the last answer: {answer!r}")
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
        """Create a stack from resources or a template's text; return physical ids by logical ids, and the outputs.

        Raises `RefusedError` with AWS's reason if a resource cannot be created; nothing of that stack remains.
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
        stack_id = self.patiently(lambda: stacks.create_stack(**request))["StackId"]

        def described() -> Any:
            return stacks.describe_stacks(StackName=stack_id)["Stacks"][0]

        description = self.until(described, lambda stack: not stack["StackStatus"].endswith("IN_PROGRESS"))
        if description["StackStatus"] != "CREATE_COMPLETE":
            raise RefusedError(self._why(stack_id))
        resources = stacks.describe_stack_resources(StackName=stack_id)["StackResources"]
        outputs = {output["OutputKey"]: output["OutputValue"] for output in description.get("Outputs", [])}
        return {r["LogicalResourceId"]: r["PhysicalResourceId"] for r in resources} | outputs

    def _why(self, stack: str) -> str:
        """Return the reason of the first resource that failed."""
        events = self.client("cloudformation").describe_stack_events(StackName=stack)["StackEvents"]
        reasons = [e.get("ResourceStatusReason", "") for e in events if e["ResourceStatus"].endswith("_FAILED")]
        return next(filter(None, reversed(reasons)), "AWS gives no reason")

    # -- rights --------------------------------------------------------------------------------------------------

    def assume(self, role: str, *allowed: Statement, seconds: int = 3600) -> Callable[[str], Any]:
        """Return a maker of clients in a role; they may do only what both the role and `allowed` allow."""
        request: dict[str, Any] = {"RoleArn": self.arn("iam", f"role/{role}"), "DurationSeconds": seconds}
        if allowed:
            request["Policy"] = json.dumps({"Version": "2012-10-17", "Statement": list(allowed)})

        def take() -> Any:
            return self.client("sts").assume_role(RoleSessionName=f"conformance-{secrets.token_hex(4)}", **request)[
                "Credentials"
            ]

        credentials = self.patiently(take)
        import boto3

        session = boto3.Session(
            credentials["AccessKeyId"],
            credentials["SecretAccessKey"],
            credentials["SessionToken"],
            region_name=self.region,
        )
        return lambda service: self._connect(session, service)

    def patiently(self, call: Callable[[], T]) -> T:
        """Return a call's answer; try it again while a new role or policy may not be known everywhere."""
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
        """Return `allowed` or `refused`: whether the rights are enough for a call."""
        try:
            self.patiently(call)
        except ClientError as error:
            if error.response["Error"]["Code"] not in FORBIDDEN:
                raise
            return "refused"
        return "allowed"


def allow(actions: Sequence[str], *resources: object) -> Statement:
    """Return a statement of a policy."""
    return {"Effect": "Allow", "Action": list(actions), "Resource": list(resources) or ["*"]}
