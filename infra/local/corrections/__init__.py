"""The corrections that make ministack answer as AWS documents; each module replaces one service's part."""

from __future__ import annotations

from typing import Any


def install_all() -> Any:
    """Install every correction; the ASGI application to serve.

    Imported only here, because they need the server's own environment, and the modules among them
    that decide without doing are used outside it.
    """
    from infra.local.corrections import (
        access,
        bucket_owner,
        cloudformation,
        cloudwatch,
        deploy_role,
        emitted_metrics,
        event_source_mapping,
        exports,
        firehose,
        glue,
        kinesis,
        requests,
        scans,
        streams,
    )

    for correction in (
        kinesis,
        firehose,
        scans,
        streams,
        exports,
        event_source_mapping,
        cloudformation,
        cloudwatch,
        emitted_metrics,
        access,
        bucket_owner,
        deploy_role,
        glue,
    ):
        correction.install()
    return requests.install()


def issued(access_key: str) -> bool:
    """Return whether STS or IAM gave this access key out."""
    from ministack.core.iam_evaluator import find_iam_access_key_account
    from ministack.services import sts

    return access_key in sts._sessions or find_iam_access_key_account(access_key) is not None
