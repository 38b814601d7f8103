"""Moving a table from one delivery to the other without losing what is under way in the first."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from dynalake.capture.stacks import stack_state
from dynalake.clients import Clients
from dynalake.names import TableNames
from dynalake.settings import TableSettings

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch.type_defs import MetricTypeDef

BUFFER = timedelta(minutes=15)
"""For how long Firehose may gather before it delivers: what is older, it could not deliver."""

# The forwarder may use the old settings for a minute (and an invocation), and Firehose gathers.
DRAIN = 2 * BUFFER


def plan_draining(
    deployed: Mapping[str, str],
    settings: TableSettings,
    changed_at: datetime | None,
    now: datetime,
    *,
    held: bool = False,
) -> str:
    """The delivery that the table's stack keeps besides `settings.delivery` until it is empty, or `none`.

    `deployed` are the stack's parameters (empty where there is no stack), `changed_at` is when its settings last
    changed. A delivery that is no longer written to goes with the first setup run after `DRAIN`, unless it has still
    `held` changes then.
    """
    current = deployed.get("Delivery", settings.delivery)
    if current != settings.delivery:
        return current
    kept = deployed.get("Draining", "none")
    if kept in ("none", settings.delivery):
        return "none"
    return kept if held or (changed_at is not None and now - changed_at < DRAIN) else "none"


def draining(clients: Clients, names: TableNames, settings: TableSettings, now: datetime) -> str:
    """`plan_draining` for the table's stack as it is."""
    state = stack_state(clients, names.stack)
    if not state.exists:
        return "none"
    try:
        changed_at = clients.ssm.get_parameter(Name=names.settings_parameter)["Parameter"]["LastModifiedDate"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "ParameterNotFound":
            raise
        changed_at = None
    held = holds_changes(clients, names, state.parameters.get("Draining", "none"), now)
    return plan_draining(state.parameters, settings, changed_at, now, held=held)


def holds_changes(clients: Clients, names: TableNames, delivery: str, now: datetime) -> bool:
    """Whether Firehose has changes of a delivery, `none` among them, that it cannot deliver.

    https://docs.aws.amazon.com/firehose/latest/dev/cloudwatch-metrics.html: the age of the oldest record that it holds.
    Nobody writes there any more, so where it tells of none for a while, it has none.
    """
    if delivery == "none":
        return False
    stream = names.direct_delivery_stream if delivery == "direct" else names.delivery_stream
    metric: MetricTypeDef = {
        "Namespace": "AWS/Firehose",
        "MetricName": "DeliveryToS3.DataFreshness",
        "Dimensions": [{"Name": "DeliveryStreamName", "Value": stream}],
    }
    answer = clients.cloudwatch.get_metric_data(
        MetricDataQueries=[{"Id": "age", "MetricStat": {"Metric": metric, "Period": 300, "Stat": "Maximum"}}],
        StartTime=now - BUFFER,
        EndTime=now,
    )
    ages = answer["MetricDataResults"][0]["Values"] if answer["MetricDataResults"] else []
    return max(ages, default=0) > BUFFER.total_seconds()
