"""Removes a table's pipeline, and its data only where that was requested by name.

The order loses nothing: the mapping stops, everything comes to rest, canaries prove that all sent changes have arrived,
then the stack goes. Changes that the mapping had not read stay in DynamoDB's stream for 24 hours, and a setup within
that time reads them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from dynalake.aws.answers import code_of, message_of, tolerate
from dynalake.capture.lake.registry import SHOWN_NAMES, list_tables
from dynalake.capture.proof.canaries import Canaries
from dynalake.capture.proof.quiet import check_quiet, signs_of_delivery, signs_of_mapping
from dynalake.capture.proof.verify import check_delivery
from dynalake.capture.stacks.deliveries import deployed
from dynalake.capture.stacks.stack_failures import explain_failure
from dynalake.capture.stacks.stacks import stack_state, wait_until_settled
from dynalake.capture.stored import Stored, holds_objects
from dynalake.errors import NotReadyError, SettingsError, StackError, counted, cut, meant
from dynalake.lake.catalog.table import DYNAMODB_TABLE, Table
from dynalake.lake.current.view_entries import read_entry
from dynalake.names import TableNames

WAIT_SECONDS = 1800.0
POLL_SECONDS = 1.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Remains:
    """What exists of a table in the lake."""

    stack: str
    """Status of its stack; empty where there is none."""
    catalog: tuple[str, ...]
    """Its Glue tables and views."""
    data: bool
    """Whether the bucket has objects of it."""

    def lines(self, names: TableNames, stored: Sequence[Stored], *, delete_data: bool) -> list[str]:
        """Return texts for people: what goes, and what stays. `stored`: the objects, where they were counted."""
        fate = "deleted" if delete_data else "kept"
        objects = "some" if self.data else "none"
        if stored:
            versions, size = sum(part.versions for part in stored), sum(part.bytes for part in stored)
            objects = f"{counted(versions, 'version')}, {counted(size, 'byte')}"
        return [
            f"Stack, deleted: {f'{names.stack} ({self.stack})' if self.stack else 'none'}",
            f"Glue tables and views, {fate}: {', '.join(self.catalog) or 'none'}",
            f"Objects in s3://{names.lake.bucket}/, {fate}: {objects}",
        ]


def check_teardown(table: Table, delete_data: str = "") -> Remains:
    """Return what there is to remove.

    Raises `SettingsError` where there is nothing of this table, or `delete_data` is neither empty nor exactly its name.
    """
    names = table.names
    if delete_data not in ("", names.table):
        raise SettingsError(
            f"delete_data is {delete_data!r}, but the table is {names.table!r}",
            allowed=f"exactly {names.table!r} to delete the table's data in the lake too; empty to keep it",
            action="trigger the DAG again",
            table=names.table,
        )
    remains = Remains(stack_state(table.clients, names.stack).status, owned_tables(table), holds_objects(table))
    if not remains.stack and not remains.catalog and not remains.data:
        known = list_tables(table.clients, names.lake)
        raise SettingsError(
            f"There is nothing of table {names.table!r} in the lake {names.lake.environment!r}"
            + meant([names.table], known),
            allowed=f"one of {cut(', '.join(known), SHOWN_NAMES)}" if known else "a table; none is set up",
            action="check the name; upper and lower case count",
            table=names.table,
        )
    return remains


def owned_tables(table: Table) -> tuple[str, ...]:
    """Return the table's Glue tables and views, views first; leave out those that belong to another table."""
    entries = {name: read_entry(table, name) for name in table.names.glue_names}
    return tuple(
        name
        for name, entry in entries.items()
        if entry is not None and entry.get("Parameters", {}).get(DYNAMODB_TABLE) == table.names.table
    )


def stop_mapping(table: Table, *, seconds: float = WAIT_SECONDS) -> str:
    """Disable the table's mapping and wait until it says so. Return its UUID, '' where there is none.

    It may still read for a while (see `check_stopped`). Raises `NotReadyError` where that takes longer than `seconds`.
    """
    mapping_id = stack_state(table.clients, table.names.stack).outputs.get("MappingId", "")
    if not mapping_id:
        return ""
    deadline = time.monotonic() + seconds
    requested = False
    while True:
        try:
            state = table.clients.lambda_.get_event_source_mapping(UUID=mapping_id)["State"]
            if state in ("Disabled", "Deleting"):
                return mapping_id
            if state in ("Enabled", "Enabling") and not requested:
                table.clients.lambda_.update_event_source_mapping(UUID=mapping_id, Enabled=False)
                requested = True
                continue
        except Exception as error:
            code = code_of(error)
            if code == "ResourceNotFoundException":
                return ""
            if code != "ResourceInUseException":
                raise
            state = "being changed"
        if time.monotonic() >= deadline:
            raise NotReadyError(f"Event source mapping {mapping_id} is still {state}", table=table.names.table)
        time.sleep(POLL_SECONDS / 4)


def check_stopped(table: Table, mapping_id: str, now: datetime, rest: timedelta) -> None:
    """Raise `NotReadyError` until nothing goes into the table's pipeline and nothing moves in it.

    A mapping that says `Disabled` may still read for minutes, and call the forwarder for its timeout. Raises
    `StackError` where it is enabled again. The mapping and the stack may be gone already.
    """
    names = table.names
    deliveries = deployed(stack_state(table.clients, names.stack))
    if deliveries is None:
        return
    signs = tuple(sign for delivery in deliveries.all for sign in signs_of_delivery(names, delivery))
    stopped = now - rest
    if mapping_id:
        mapping = table.clients.lambda_.get_event_source_mapping(UUID=mapping_id)
        _refuse_enabled(names, mapping_id, mapping["State"])
        stopped = mapping["LastModified"]
        signs += signs_of_mapping(mapping_id)
    check_quiet(table, signs, stopped, now, rest)


def check_disabled(table: Table) -> None:
    """Raise `StackError` where the table's mapping is enabled again, so that its stack must stay.

    Hours may pass after `check_stopped`, in which somebody sets the table up again.
    """
    mapping_id = stack_state(table.clients, table.names.stack).outputs.get("MappingId", "")
    if not mapping_id:
        return
    with tolerate("ResourceNotFoundException"):
        mapping = table.clients.lambda_.get_event_source_mapping(UUID=mapping_id)
        _refuse_enabled(table.names, mapping_id, mapping["State"])


def _refuse_enabled(names: TableNames, mapping_id: str, state: str) -> None:
    if state not in ("Disabled", "Deleting"):
        raise StackError(
            f"The event source mapping {mapping_id} of table {names.table!r} is {state} again",
            allowed="one run at a time that sets a table up or removes it",
            action="run dynalake_teardown again if the table should be removed",
            table=names.table,
        )


def last_canaries(table: Table, run: str, now: datetime) -> list[Canaries]:
    """Return the canaries to send behind all changes under way, by every delivery that the table's stack has."""
    deliveries = deployed(stack_state(table.clients, table.names.stack))
    if deliveries is None:
        return []
    return [Canaries.of(delivery, check_delivery(table, delivery), run, now) for delivery in deliveries.all]


def delete_stack(table: Table, *, seconds: float = WAIT_SECONDS, sleep: Callable[[float], None] = time.sleep) -> bool:
    """Delete the table's stack and wait until it is gone. Return False where there was none.

    Raises `StackError` where CloudFormation cannot delete it, with the resource and AWS's reason.
    """
    clients = table.clients
    names = table.names
    deadline = time.monotonic() + seconds
    state = wait_until_settled(clients, names.stack, seconds)
    if state.status in ("", "DELETE_COMPLETE"):
        return False
    # CloudFormation still shows a deleted stack under its id; its name may be another stack's by then.
    stack_id = state.version.split(" ", 1)[0]
    try:
        clients.cloudformation.delete_stack(StackName=names.stack)
    except Exception as error:
        if code_of(error) != "ValidationError":
            raise
        raise StackError(
            f"CloudFormation does not delete stack {names.stack}: {message_of(error)}",
            action="if the stack is protected, run: aws cloudformation update-termination-protection "
            f"--no-enable-termination-protection --stack-name {names.stack}",
            stack=names.stack,
        ) from error
    state = wait_until_settled(clients, stack_id, deadline - time.monotonic(), sleep)
    if state.status in ("", "DELETE_COMPLETE"):
        return True
    raise explain_failure(clients, names.stack, state.status, state.reason)


def delete_catalog(table: Table) -> tuple[str, ...]:
    """Delete the table's Glue tables, with their partitions, and views. Return their names."""
    deleted = owned_tables(table)
    for name in deleted:
        with tolerate("EntityNotFoundException"):
            table.clients.glue.delete_table(DatabaseName=table.names.lake.database, Name=name)
    return deleted


def what_is_left(table: Table) -> list[str]:
    """Return texts for people: what stays after a teardown, and how to remove that as well."""
    names = table.names
    lake = names.lake
    lines = [
        f"The DynamoDB table {names.table} is unchanged. If nothing else reads its stream, turn the stream off: "
        f"aws dynamodb update-table --table-name {names.table} --stream-specification StreamEnabled=false"
    ]
    if holds_objects(table):
        lines.append(
            f"Its data stays in s3://{lake.bucket}/ and can be queried as {lake.database}."
            f"{names.changes_table}. To delete it, run dynalake_teardown with delete_data={names.table}"
        )
    others = list_tables(table.clients, lake)
    if others:
        lines.append(f"The lake's other tables are still captured: {', '.join(others)}")
    else:
        lines.append(
            f"No table is captured now. The lake's own stacks can be deleted: first {lake.forwarder_stack}, then "
            f"{lake.storage_stack} (aws cloudformation delete-stack --stack-name …). The latter deletes the Glue "
            f"database with every table that is left in it; the bucket {lake.bucket} stays"
        )
    return lines
