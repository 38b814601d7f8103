"""A table's former delivery: whether it may be empty, and the canaries that prove it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from dynalake.capture.proof.canaries import Canaries, parts, send_canaries
from dynalake.capture.proof.quiet import check_quiet, signs_of_delivery
from dynalake.capture.proof.verify import check_delivery
from dynalake.capture.stacks.deliveries import deployed
from dynalake.capture.stacks.stacks import stack_state
from dynalake.errors import StackError
from dynalake.lake.catalog.table import Table


@dataclass(frozen=True)
class FormerDelivery:
    """A former delivery, at rest."""

    delivery: str
    version: str
    """Version of the stack; on another one, changes may have gone there again."""
    canaries: Canaries | None
    """Canaries that have to arrive before it is empty; None where its streams are gone, with what they held."""


def find_former(table: Table, run: str, now: datetime, rest: timedelta) -> FormerDelivery | None:
    """Send canaries behind the records that the former delivery may hold. Return None where there is no such delivery.

    Raises `NotReadyError` where it has not been at rest for `rest`.
    """
    names = table.names
    deliveries = deployed(stack_state(table.clients, names.stack))
    if deliveries is None or deliveries.former is None:
        return None
    try:
        made = check_delivery(table, deliveries.former)
    except StackError:
        return FormerDelivery(deliveries.former, deliveries.version, None)
    changed = table.clients.ssm.get_parameter(Name=names.settings_parameter)["Parameter"]["LastModifiedDate"]
    check_quiet(table, signs_of_delivery(names, deliveries.former), changed, now, rest)
    canaries = Canaries.of(deliveries.former, made, run, now)
    send_canaries(table, canaries, parts(table, deliveries.former))
    return FormerDelivery(deliveries.former, deliveries.version, canaries)
