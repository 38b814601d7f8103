"""Corrections that make ministack answer as AWS documents; each module corrects a part of one service."""

from __future__ import annotations

import threading
import traceback
from pathlib import Path
from typing import Any

UNREADABLE_STATE = 3
"""The exit code of a server that cannot read the state that it shall start with."""


def apply_all(state: Path | None = None) -> Any:
    """Apply every correction, list them in the log, restore a saved state if there is one, and start what services do
    by themselves; return the ASGI application.

    The imports are here because most corrections need the server's environment, but some modules of this package are
    pure and also used outside it.
    """
    from ministack import app as gateway

    from infra.local.aws import athena, cloudformation, firehose, glue, kinesis, patch, requests
    from infra.local.aws.cloudwatch import cloudwatch, emitted_metrics
    from infra.local.aws.dynamodb import scans, streams
    from infra.local.aws.dynamodb.exports import history, service
    from infra.local.aws.glue import jobs, partitions, tables
    from infra.local.aws.iam import access, deploy_role
    from infra.local.aws.lambda_ import event_source_mapping, mapping_lifecycle
    from infra.local.aws.s3 import bucket_owner

    for correction in patch.of(
        kinesis,
        firehose,
        scans,
        streams,
        history,
        service,
        event_source_mapping,
        mapping_lifecycle,
        cloudformation,
        cloudwatch,
        emitted_metrics,
        access,
        bucket_owner,
        deploy_role,
        glue,
        partitions,
        tables,
        jobs,
        athena,
        requests,
    ):
        correction.apply()
        print(correction, flush=True)
    if state is not None:
        from infra.local.aws.state import restore

        try:
            restore(state)
        except Exception:
            traceback.print_exc()
            raise SystemExit(UNREADABLE_STATE) from None
    for work in (
        firehose.deliver_forever,
        firehose.read_forever,
        streams.expire_forever,
        cloudwatch.evaluate_forever,
    ):
        threading.Thread(target=work, name=work.__name__, daemon=True).start()
    return gateway.app


def issued(access_key: str) -> bool:
    """Return whether STS or IAM issued this access key."""
    from ministack.core.iam_evaluator import find_iam_access_key_account
    from ministack.services import sts

    return access_key in sts._sessions or find_iam_access_key_account(access_key) is not None
