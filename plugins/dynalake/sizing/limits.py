"""AWS's limits for an account and its streams, read before anything is changed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from dynalake.aws.answers import tolerate
from dynalake.errors import SettingsError
from dynalake.lake.catalog.table import Table
from dynalake.options.settings import TableSettings
from dynalake.sizing.shards import StreamState, shard_steps

# https://docs.aws.amazon.com/streams/latest/dev/how-do-i-size-a-stream.html
MODE_SWITCHES, A_DAY = 2, timedelta(hours=24)


def read_stream(table: Table) -> StreamState | None:
    """Return the table's Kinesis stream; None where there is none."""
    with tolerate("ResourceNotFoundException"):
        summary = table.clients.kinesis.describe_stream_summary(StreamName=table.names.stream)[
            "StreamDescriptionSummary"
        ]
        return StreamState(summary["StreamModeDetails"]["StreamMode"].lower(), summary["OpenShardCount"])
    return None


def check_stream(table: Table, settings: TableSettings, stream: StreamState | None, shards: int, now: datetime) -> None:
    """Raise `SettingsError` where AWS would refuse the stream that the settings need."""
    limits = table.clients.kinesis.describe_limits()
    problem = limit_problem(limits, settings, stream, shards)
    if problem is None and stream is not None and stream.mode != settings.stream_mode:
        pages = table.clients.ssm.get_paginator("get_parameter_history").paginate(Name=table.names.settings_parameter)
        problem = switch_problem((v for page in pages for v in page["Parameters"]), settings, now)
    if problem is not None:
        raise problem


def limit_problem(
    limits: Mapping[str, Any], settings: TableSettings, stream: StreamState | None, shards: int
) -> SettingsError | None:
    """Return what the account's limits, as DescribeLimits returns them, do not allow (pure)."""
    have, most = limits["OnDemandStreamCount"], limits["OnDemandStreamCountLimit"]
    if settings.stream_mode == "on_demand":
        if have < most or (stream is not None and stream.mode == "on_demand"):
            return None
        return SettingsError(
            f"The account has {have} Kinesis streams on demand in this region",
            allowed=f"{most} in the whole account",
            action="leave stream_mode at 'provisioned', or ask AWS for more",
            table=settings.table,
        )
    more = max(shard_steps(settings, stream, shards)) - (stream.shards if stream else 0)
    if limits["OpenShardCount"] + more <= limits["ShardLimit"]:
        return None
    return SettingsError(
        f"The account has {limits['OpenShardCount']:,} open shards in this region, and the table needs {more:,} more",
        allowed=f"{limits['ShardLimit']:,} in the whole account",
        action="choose fewer shards, or ask AWS for more (Service Quotas)",
        table=settings.table,
    )


def switch_problem(
    versions: Iterable[Mapping[str, Any]], settings: TableSettings, now: datetime
) -> SettingsError | None:
    """Return why a stream that changed its mode too often cannot change it now, from the settings' versions (pure)."""
    known = sorted(versions, key=lambda version: version["LastModifiedDate"])
    modes = [(version["LastModifiedDate"], json.loads(version["Value"]).get("stream_mode")) for version in known]
    switched = [at for (_, old), (at, new) in pairwise(modes) if old != new and now - at < A_DAY]
    if len(switched) < MODE_SWITCHES:
        return None
    return SettingsError(
        f"The mode of {settings.table!r}'s Kinesis stream has changed {len(switched)} times within 24 hours",
        allowed=f"{MODE_SWITCHES} changes within 24 hours",
        action=f"leave stream_mode as it is until {switched[-MODE_SWITCHES] + A_DAY:%Y-%m-%d %H:%M} UTC",
        table=settings.table,
    )
