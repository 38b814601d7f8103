"""Moving a table from one delivery to the other without losing what is under way in the first."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from botocore.exceptions import ClientError

from dynalake.capture.stacks import stack_state
from dynalake.clients import Clients
from dynalake.names import TableNames
from dynalake.settings import TableSettings

# The forwarder may use the old settings for a minute (and an invocation), Firehose buffers for 15 minutes at most.
DRAIN = timedelta(minutes=30)


def plan_draining(
    deployed: Mapping[str, str], settings: TableSettings, changed_at: datetime | None, now: datetime
) -> str:
    """The delivery that the table's stack keeps besides `settings.delivery` until it is empty, or `none`.

    `deployed` are the stack's parameters (empty where there is no stack), `changed_at` is when its settings last
    changed. A delivery that is no longer written to goes with the first setup run after `DRAIN`.
    """
    current = deployed.get("Delivery", settings.delivery)
    if current != settings.delivery:
        return current
    kept = deployed.get("Draining", "none")
    if kept != "none" and kept != settings.delivery and changed_at is not None and now - changed_at < DRAIN:
        return kept
    return "none"


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
    return plan_draining(state.parameters, settings, changed_at, now)
