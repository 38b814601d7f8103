"""Roles of an account with enforced IAM, and clients that work in them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import boto3

from infra.local.run.process import LocalAws

ACCOUNT = "000000000000"

Statement = Mapping[str, Any]


def role(
    root: Callable[[str], Any],
    name: str,
    principal: dict[str, str],
    *allowed: tuple[str, str] | tuple[str, str, Statement],
    boundary: str = "",
) -> str:
    """Make a role that `principal` may assume. Each of `allowed` is an action, a resource, and perhaps a condition."""
    trust = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
    bounded = {"PermissionsBoundary": boundary} if boundary else {}
    created = root("iam").create_role(RoleName=name, AssumeRolePolicyDocument=document([trust]), **bounded)
    if allowed:
        root("iam").put_role_policy(RoleName=name, PolicyName="allow", PolicyDocument=document(statements(*allowed)))
    return str(created["Role"]["Arn"])


def statements(*allowed: tuple[str, str] | tuple[str, str, Statement]) -> list[dict[str, Any]]:
    """Return the statements that allow these."""
    return [
        {"Effect": "Allow", "Action": grant[0], "Resource": grant[1], "Condition": grant[2] if len(grant) == 3 else {}}
        for grant in allowed
    ]


def document(statements: list[dict[str, Any]]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def taking(root: Callable[[str], Any], enforced: LocalAws, arn: str) -> Callable[[str], Any]:
    """Return a function that makes clients in a role."""
    taken = root("sts").assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]
    session: Any = boto3.Session(
        taken["AccessKeyId"], taken["SecretAccessKey"], taken["SessionToken"], region_name="us-east-1"
    )
    return lambda service: session.client(service, endpoint_url=enforced.endpoint_url)


ROLE = f"arn:aws:iam::{ACCOUNT}:role/local"
