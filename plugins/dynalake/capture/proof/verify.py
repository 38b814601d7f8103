"""Whether a table's resources work, as their services report it."""

from __future__ import annotations

from datetime import datetime, timedelta

from dynalake.aws.answers import code_of, message_of
from dynalake.aws.cloudwatch import read_metrics
from dynalake.capture.proof.quiet import PERIOD_SECONDS, signs_of_mapping
from dynalake.errors import NotReadyError, StackError
from dynalake.lake.catalog.table import Table
from dynalake.names import TableNames

UNREAD = timedelta(minutes=15)
"""How long a stream may go unread before the table's alarms report it."""


def check_delivery(table: Table, delivery: str) -> str:
    """Return when the streams of a delivery were made, as a text that differs for streams that were made again.

    Raises `NotReadyError` while one is not active yet, `StackError` where one is gone although the stack has it.
    """
    names = table.names
    try:
        created = []
        if delivery == "kinesis":
            stream = table.clients.kinesis.describe_stream_summary(StreamName=names.stream)["StreamDescriptionSummary"]
            # A stream takes records also while it is resharded.
            _check_state(names, f"Kinesis stream {names.stream}", stream["StreamStatus"], ("ACTIVE", "UPDATING"))
            created.append(stream["StreamCreationTimestamp"].isoformat())
        name = names.firehose(delivery)
        firehose = table.clients.firehose.describe_delivery_stream(DeliveryStreamName=name)["DeliveryStreamDescription"]
        _check_state(names, f"Firehose stream {name}", firehose["DeliveryStreamStatus"], ("ACTIVE",))
        return " ".join([*created, firehose["CreateTimestamp"].isoformat()])
    except Exception as error:
        if code_of(error) != "ResourceNotFoundException":
            raise
        other = "direct" if delivery == "kinesis" else "kinesis"
        raise StackError(
            f"A stream of the delivery {delivery!r} of table {names.table!r} is gone, although its stack "
            f"{names.stack} still has it: {message_of(error)}",
            allowed="the streams that the table's stack made",
            action=f"run dynalake_setup with update_settings=true and delivery={other}, which makes a new delivery; "
            "then import the changes since the stream disappeared: dynalake_backfill, export_type incremental",
            table=names.table,
        ) from error


def check_mapping(table: Table, mapping_id: str) -> tuple[str, str]:
    """Return state and last result of the table's mapping, if it reads the stream.

    Raises `NotReadyError` while it is not enabled yet, `StackError` where it was disabled or deleted.
    """
    names = table.names
    try:
        mapping = table.clients.lambda_.get_event_source_mapping(UUID=mapping_id)
    except Exception as error:
        if code_of(error) != "ResourceNotFoundException":
            raise
        raise StackError(
            f"The event source mapping {mapping_id} of table {names.table!r} is gone",
            allowed="the mapping that the table's stack made",
            action=f"delete the stack {names.stack} and run dynalake_setup again",
            table=names.table,
        ) from error
    state = mapping["State"]
    if state in ("Disabled", "Disabling", "Deleting"):
        raise StackError(
            f"The event source mapping {mapping_id} of table {names.table!r} is {state}",
            allowed="Enabled; the table's stream drops changes after 24 hours",
            action=f"aws lambda update-event-source-mapping --uuid {mapping_id} --enabled, then run the setup again",
            table=names.table,
        )
    _check_state(names, f"Event source mapping {mapping_id}", state, ("Enabled", "Updating"))
    result = mapping.get("LastProcessingResult", "")
    if cannot_read(result):
        raise NotReadyError(
            f"The event source mapping {mapping_id} cannot read the stream of table {names.table!r}: {result}",
            action="if it goes on, grant the forwarder's role what the message names (the stream, its key)",
            table=names.table,
        )
    return state, result


def check_polled(table: Table, mapping_id: str, now: datetime) -> None:
    """Raise `NotReadyError` until CloudWatch shows a poll of the stream; a mapping can be `Enabled` and not poll.

    From then on the alarm on an unread stream is not in ALARM, and notifies when it goes off.
    """
    polls, _ = signs_of_mapping(mapping_id)
    if not read_metrics(table.clients, {"polls": polls.metric}, now - UNREAD, now, PERIOD_SECONDS)["polls"]:
        raise NotReadyError(
            f"The event source mapping {mapping_id} has not polled the stream of table {table.names.table!r} yet",
            action="wait: CloudWatch shows a poll some minutes late. If it goes on, check the mapping in Lambda",
            table=table.names.table,
        )


def cannot_read(last_result: str) -> bool:
    """Return whether a mapping's last result says that it could not read the stream; a failed call does not count."""
    return last_result.startswith("PROBLEM") and "Function call" not in last_result


def _check_state(names: TableNames, what: str, state: str, allowed: tuple[str, ...]) -> None:
    if state not in allowed:
        raise NotReadyError(f"{what} is {state}", allowed=" or ".join(allowed), table=names.table)
