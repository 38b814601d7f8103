"""Lambda's own use of a function's role: decrypt its environment, write its log, send its traces."""

from __future__ import annotations

from typing import Any

from ministack import app as gateway
from ministack.core.responses import get_account_id, get_region

from infra.local.aws.iam import access

SERVICE = "lambda.amazonaws.com"

Config = dict[str, Any]


def may_start(config: Config) -> bool:
    """Return whether the environment can be decrypted, if a customer-managed key encrypts it.

    https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars-encryption.html
    """
    key = str(config.get("KMSKeyArn") or "")
    return not key or access.allows(_role(config), SERVICE, [("kms:Decrypt", key)])


def may_log(config: Config) -> bool:
    """Return whether the function's output may be written to its log group."""
    if not gateway.AUTH:
        return True
    group = (config.get("LoggingConfig") or {}).get("LogGroup") or f"/aws/lambda/{config['FunctionName']}"
    stream = f"arn:aws:logs:{get_region()}:{get_account_id()}:log-group:{group}:log-stream:1"
    return access.allows(_role(config), SERVICE, [("logs:CreateLogStream", stream), ("logs:PutLogEvents", stream)])


def trace(config: Config) -> None:
    """Check the rights for tracing; a function that may not send its traces still runs.

    https://docs.aws.amazon.com/lambda/latest/dg/services-xray.html
    """
    if (config.get("TracingConfig") or {}).get("Mode") == "Active":
        access.allows(_role(config), SERVICE, [("xray:PutTraceSegments", "*"), ("xray:PutTelemetryRecords", "*")])


def _role(config: Config) -> str:
    return str(config.get("Role", ""))
