"""Removes a table's pipeline, and its data only where that was asked for by name.

The order loses nothing: the mapping stops, what is under way is delivered, then the stack goes. Changes that the
mapping had not read stay in DynamoDB's stream for 24 hours, and a setup within that time reads them.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import count

from botocore.exceptions import ClientError

from dynalake.capture.draining import DRAIN, holds_changes
from dynalake.capture.lake import find_settings, list_tables
from dynalake.capture.stack_failures import explain_failure
from dynalake.capture.stacks import stack_state, wait_until_settled
from dynalake.capture.stored import holds_objects
from dynalake.capture.verify import Canary, send_canary
from dynalake.clients import Clients
from dynalake.errors import NotReadyError, SettingsError, StackError
from dynalake.lake.table import DYNAMODB_TABLE, Table
from dynalake.lake.view_entries import read_entry
from dynalake.names import TableNames

WAIT_SECONDS = 1800.0
POLL_SECONDS = 1.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Remains:
    """What there is of a table in the lake."""

    stack: str
    """The status of its stack; empty where there is none."""
    catalog: tuple[str, ...]
    """Its Glue tables and views."""
    data: bool
    """Whether the bucket has objects of it."""


def check_teardown(clients: Clients, names: TableNames, delete_data: str = "") -> Remains:
    """What there is to remove.

    Raises `SettingsError` where there is nothing of this table, or `delete_data` is neither empty nor exactly its name.
    """
    if delete_data not in ("", names.table):
        raise SettingsError(
            f"delete_data is {delete_data!r}, and the table is {names.table!r}",
            allowed=f"{names.table!r}, letter by letter, to delete the table's data in the lake too; empty to keep it",
            action="trigger the DAG again",
            table=names.table,
        )
    remains = Remains(
        stack_state(clients, names.stack).status, owned_tables(clients, names), holds_objects(clients, names)
    )
    if not remains.stack and not remains.catalog and not remains.data:
        known = list_tables(clients, names.lake)
        raise SettingsError(
            f"There is nothing of table {names.table!r} in the lake {names.lake.environment!r}",
            allowed="one of " + ", ".join(known) if known else "a table that is set up; there is none any more",
            action="check the name; upper and lower case count",
            table=names.table,
        )
    return remains


def owned_tables(clients: Clients, names: TableNames) -> tuple[str, ...]:
    """The table's Glue tables and views, views first; what has one of its names and is another table's is left out."""
    table = Table(clients, names)
    found = {name: read_entry(table, name) for name in names.glue_names}
    return tuple(
        name
        for name, entry in found.items()
        if entry is not None and entry.get("Parameters", {}).get(DYNAMODB_TABLE) == names.table
    )


def stop_mapping(clients: Clients, names: TableNames, *, seconds: float = WAIT_SECONDS) -> str:
    """Disable the table's mapping and wait until its last invocation is over; its UUID, '' where there is none.

    Raises `NotReadyError` where that takes longer than `seconds`.
    """
    mapping_id = stack_state(clients, names.stack).outputs.get("MappingId", "")
    if not mapping_id:
        return ""
    deadline = time.monotonic() + seconds
    asked = False
    while True:
        try:
            state = clients.lambda_.get_event_source_mapping(UUID=mapping_id)["State"]
            if state in ("Disabled", "Deleting"):
                return mapping_id
            if state in ("Enabled", "Enabling") and not asked:
                clients.lambda_.update_event_source_mapping(UUID=mapping_id, Enabled=False)
                asked = True
                continue
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code == "ResourceNotFoundException":
                return ""
            if code != "ResourceInUseException":
                raise
            state = "being changed"
        if time.monotonic() >= deadline:
            raise NotReadyError(f"Event source mapping {mapping_id} is still {state}", table=names.table)
        time.sleep(POLL_SECONDS / 4)


def send_last_canaries(clients: Clients, names: TableNames, run: str) -> list[Canary]:
    """A canary behind everything that is under way: one into each shard, or one into the Firehose stream.

    A shard is delivered in its order, so a canary that is read back from S3 says that what was before it is there. None
    where there is no pipeline any more. Raises `NotReadyError` where the forwarder cannot send.
    """
    settings = find_settings(clients, names)
    if settings is None or not stack_state(clients, names.stack).exists:
        return []
    if settings.delivery == "direct":
        return [send_canary(clients, names, f"{run}-last-0")]
    pages = clients.kinesis.get_paginator("list_shards").paginate(StreamName=names.stream)
    shards = [shard for page in pages for shard in page["Shards"]]
    # A shard that was closed by resharding is read before those that took its place.
    ranges = [
        (int(shard["HashKeyRange"]["StartingHashKey"]), int(shard["HashKeyRange"]["EndingHashKey"]))
        for shard in shards
        if "EndingSequenceNumber" not in shard["SequenceNumberRange"]
    ]
    return [send_canary(clients, names, canary_id) for canary_id in canary_ids(f"{run}-last", ranges)]


def canary_ids(prefix: str, ranges: list[tuple[int, int]]) -> list[str]:
    """Ids of which one falls into each range of hash keys, as partition keys do. Pure.

    https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecordsRequestEntry.html: MD5, as 128 bits.
    """
    found: list[str] = []
    for low, high in ranges:
        ids: Iterator[str] = (f"{prefix}-{number}" for number in count())
        found.append(next(each for each in ids if low <= _hash_key(each) <= high))
    return found


def _hash_key(partition_key: str) -> int:
    return int(hashlib.md5(partition_key.encode(), usedforsecurity=False).hexdigest(), 16)


def drained_at(parameters: Mapping[str, str], changed_at: datetime | None, now: datetime) -> datetime:
    """From when on the delivery that the table has left, if it has one, can hold nothing any more. Pure.

    `parameters` are the stack's, `changed_at` is when the table's settings last changed. Nothing is written to that
    delivery, so no canary can be sent behind what is in it; time, and what Firehose tells, are all that can be known.
    """
    if parameters.get("Draining", "none") in ("none", parameters.get("Delivery")) or changed_at is None:
        return now
    return changed_at + DRAIN


def check_drained(clients: Clients, names: TableNames, now: datetime) -> None:
    """Raises `NotReadyError` while the delivery that the table has left may still hold something."""
    state = stack_state(clients, names.stack)
    left = state.parameters.get("Draining", "none") if state.exists else "none"
    if left == "none":
        return
    if holds_changes(clients, names, left, now):
        raise NotReadyError(
            f"Firehose cannot deliver the changes of the delivery {left!r}, which table {names.table!r} has left",
            action="see the delivery's log; it is waited for",
            table=names.table,
        )
    try:
        changed_at = clients.ssm.get_parameter(Name=names.settings_parameter)["Parameter"]["LastModifiedDate"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "ParameterNotFound":
            raise
        return
    until = drained_at(state.parameters, changed_at, now)
    if now < until:
        raise NotReadyError(
            f"The delivery {left!r}, which table {names.table!r} has left, may hold changes "
            f"until {until.isoformat(timespec='seconds')}",
            action="it is waited for",
            table=names.table,
        )


def delete_stack(
    clients: Clients, names: TableNames, *, seconds: float = WAIT_SECONDS, sleep: Callable[[float], None] = time.sleep
) -> bool:
    """Delete the table's stack and wait until it is gone; False where there was none.

    Raises `StackError` where CloudFormation cannot delete it, with the resource and AWS's reason.
    """
    deadline = time.monotonic() + seconds
    state = wait_until_settled(clients, names.stack, seconds)
    if state.status in ("", "DELETE_COMPLETE"):
        return False
    # By its id, under which CloudFormation still shows a stack that is gone, and whose name may be another's by then.
    stack_id = state.version.split(" ", 1)[0]
    try:
        clients.cloudformation.delete_stack(StackName=names.stack)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ValidationError":
            raise
        raise StackError(
            f"CloudFormation does not delete stack {names.stack}: {error.response['Error']['Message']}",
            action="if the stack is protected, and is to go: aws cloudformation update-termination-protection "
            f"--no-enable-termination-protection --stack-name {names.stack}",
            stack=names.stack,
        ) from error
    state = wait_until_settled(clients, stack_id, deadline - time.monotonic(), sleep)
    if state.status in ("", "DELETE_COMPLETE"):
        return True
    raise explain_failure(clients, names.stack, state.status, state.reason)


def delete_catalog(clients: Clients, names: TableNames) -> tuple[str, ...]:
    """Delete the table's Glue tables, with their partitions, and views; their names."""
    deleted = owned_tables(clients, names)
    for name in deleted:
        try:
            clients.glue.delete_table(DatabaseName=names.lake.database, Name=name)
        except ClientError as error:
            if error.response["Error"]["Code"] != "EntityNotFoundException":
                raise
    return deleted


def what_is_left(clients: Clients, names: TableNames) -> list[str]:
    """For people: what stays after a teardown, and how to remove that as well."""
    lake = names.lake
    lines = [
        f"The DynamoDB table {names.table} is as it was: if nothing else reads its stream, it can be turned off: "
        f"aws dynamodb update-table --table-name {names.table} --stream-specification StreamEnabled=false"
    ]
    if holds_objects(clients, names):
        lines.append(
            f"Its data stays in s3://{lake.bucket}/ and can be queried as {lake.database}."
            f"{names.changes_table}. To delete it: dynalake_teardown with delete_data={names.table}"
        )
    others = list_tables(clients, lake)
    if others:
        lines.append(f"The lake's other tables go on: {', '.join(others)}")
    else:
        lines.append(
            f"No table is captured any more. The lake's own stacks can be deleted: first {lake.forwarder_stack}, then "
            f"{lake.storage_stack} (aws cloudformation delete-stack --stack-name …). The latter deletes the Glue "
            f"database and with it every table that is left there; the bucket {lake.bucket} stays"
        )
    return lines
