"""A redrive brings finally failed changes into the lake, once, however often they are replayed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from dynalake.aws.clients import Clients
from dynalake.capture.failed.failed import list_failed
from dynalake.capture.failed.redrive import Chunk, plan_chunks, plan_redrive
from dynalake.capture.failed.replay import replay_chunk
from dynalake.errors import NotReadyError, SettingsError
from dynalake.lake.catalog.table import Table
from dynalake.names import TableNames
from dynalake.options.settings import TableSettings
from infra.local.run.process import LocalAws
from tests.support.aws.capture_steps import (
    SOON,
    SetUp,
    break_changes,
    make_table,
    raw_changes,
    reject_large,
    set_up,
    wait_for_changes,
)
from tests.support.aws.lake import convert, register
from tests.support.waiting import eventually


@pytest.fixture
def fail(local_aws: LocalAws) -> Iterator[Any]:
    """Arms a fault on local AWS; all are cleared at the end."""
    yield lambda **fault: local_aws.call("POST", "/_dynalake/faults", fault)
    local_aws.call("DELETE", "/_dynalake/faults")


def write(clients: Clients, table: str, count: int, size: int = 10) -> None:
    for number in range(count):
        item = {"id": {"S": f"item-{number}"}, "text": {"S": "x" * size}}
        clients.dynamodb.put_item(TableName=table, Item=item)


def replay(clients: Clients, names: TableNames, chunks: tuple[Chunk, ...], run: str = "run") -> list[Any]:
    return [replay_chunk(Table(clients, names), run, chunk, sleep=lambda _: None) for chunk in chunks]


def give_up(clients: Clients, local_aws: LocalAws, fail: Any, setup: SetUp, count: int) -> None:
    """Write changes that the mapping gives up; the function stores some batches before it dies."""
    forwarder = setup.names.lake.forwarder
    fault = {"service": "lambda", "operation": "Invoke", "code": "Runtime.ExitError", "resource": forwarder}
    fail(**fault, after=True, times=2)
    fail(**fault)
    write(clients, setup.names.table, count)
    eventually(lambda: sum(batch.changes for batch in list_failed(Table(clients, setup.names))) >= count)
    local_aws.call("DELETE", "/_dynalake/faults")


def rows_after_conversion(clients: Clients, setup: SetUp) -> tuple[int, int]:
    """Return the rows of all changes, and the number of lines dropped because their change already is a row."""
    table, rows, left_out = register(clients, setup.names, setup.source.key), 0, 0
    while (finished := convert(table)) is not None:
        rows += finished.sums.rows
        left_out += finished.sums.duplicates + finished.sums.repeats
    return rows, left_out


def wait_for_lines(clients: Clients, names: TableNames, count: int) -> int:
    """Return the number of lines in the raw zone as soon as there are `count`."""
    return eventually(lambda: len(raw_changes(clients, names)), lambda lines: lines >= count)


@pytest.mark.parametrize("delivery", ["kinesis", "direct"])
def test_replaying_twice_adds_no_row(clients: Clients, local_aws: LocalAws, fail: Any, delivery: str) -> None:
    table = f"REDRIVEN-{delivery}"
    make_table(clients, table)
    setup = set_up(clients, "redriven", TableSettings(table, delivery=delivery, max_retries=0, buffer_seconds=SOON))
    names = setup.names
    give_up(clients, local_aws, fail, setup, 12)
    plan = plan_redrive(Table(clients, names))
    assert plan.changes == 12
    assert all(failure.stage == "mapping" for failure in plan.failures)
    assert {f.reason for f in plan.failures} == {"RetryAttemptsExhausted: the function answered Unhandled"}

    # Killed after the changes were stored and before a batch was marked, so the next run does all of it again.
    broken = Clients(
        lambda service: _NoCopies(clients.s3) if service == "s3" else getattr(clients, _attribute(service))
    )
    with pytest.raises(ConnectionError):
        replay(broken, names, plan.chunks)
    assert sum(batch.changes for batch in list_failed(Table(clients, names))) == 12
    second = replay(clients, names, plan_redrive(Table(clients, names)).chunks)
    assert sum(outcome.changes for outcome in second) == 12
    changes = wait_for_changes(clients, names, 12)
    assert {change["id"] for change in changes} == {f"item-{number}" for number in range(12)}

    assert list_failed(Table(clients, names)) == ()
    assert plan_redrive(Table(clients, names)).chunks == ()
    assert [batch.gone for batch in replay(clients, names, plan.chunks)] == [len(chunk.keys) for chunk in plan.chunks]

    wait_for_lines(clients, names, 13)
    rows, duplicates = rows_after_conversion(clients, setup)
    assert rows == 12
    assert duplicates == len(raw_changes(clients, names)) - 12 > 0


class _NoCopies:
    """An S3 client whose process dies before it marks a batch."""

    def __init__(self, s3: Any) -> None:
        self._s3 = s3

    def __getattr__(self, name: str) -> Any:
        if name == "copy_object":
            raise ConnectionError("killed")
        return getattr(self._s3, name)


def _attribute(service: str) -> str:
    return "lambda_" if service == "lambda" else service


def test_a_table_owns_the_batches_of_its_former_mapping_and_of_no_other_table(
    clients: Clients, local_aws: LocalAws, fail: Any
) -> None:
    for table in ("FORMER", "BESIDE"):
        make_table(clients, table)
    first = set_up(clients, "former", TableSettings("FORMER", max_retries=0, buffer_seconds=SOON))
    other = set_up(clients, "former", TableSettings("BESIDE", max_retries=0, buffer_seconds=SOON))
    give_up(clients, local_aws, fail, first, 4)
    give_up(clients, local_aws, fail, other, 4)
    clients.cloudformation.delete_stack(StackName=first.names.stack)
    with pytest.raises(SettingsError, match=r"'FORMER' is not set up"):
        plan_redrive(Table(clients, first.names))
    second = set_up(clients, "former", TableSettings("FORMER", buffer_seconds=SOON))
    assert second.mapping_id != first.mapping_id
    keys = [batch.key for batch in list_failed(Table(clients, second.names))]
    assert keys
    assert all(key.startswith(f"aws/lambda/{first.mapping_id}/") for key in keys)
    replay(clients, second.names, plan_redrive(Table(clients, second.names)).chunks)
    assert list_failed(Table(clients, second.names)) == ()
    assert sum(batch.changes for batch in list_failed(Table(clients, other.names))) == 4


def test_malformed_changes_stay_and_those_that_a_newer_version_can_send_pass(
    clients: Clients, local_aws: LocalAws
) -> None:
    make_table(clients, "BROKEN")
    setup = set_up(clients, "broken", TableSettings("BROKEN", max_record_kb=5, buffer_seconds=SOON))
    names = setup.names
    break_changes(local_aws, "BROKEN", times=2)
    write(clients, "BROKEN", 3)
    wait_for_failed(clients, names, 2)
    large = [reject_large(clients, names, setup.source, number) for number in range(2)]
    plan = plan_redrive(Table(clients, names))
    assert {(failure.stage, failure.changes) for failure in plan.failures} == {("forwarder", 2)}
    too_long, broken = sorted(failure.reason for failure in plan.failures)
    assert too_long == "The change record has N bytes, the limit is N"
    assert broken.startswith("The record has no NewImage. Needed: ")
    assert [
        outcome.done for outcome in replay(clients, names, plan_redrive(Table(clients, names), large[:1]).chunks)
    ] == [1]
    (rest,) = replay(clients, names, plan_redrive(Table(clients, names)).chunks)
    assert (rest.done, len(rest.rejected)) == (1, 2)
    assert {change["id"] for change in wait_for_changes(clients, names, 3)} == {"item-2", "large-0", "large-1"}
    assert len(list_failed(Table(clients, names))) == 2
    with pytest.raises(SettingsError, match="replayed already"):
        plan_redrive(Table(clients, names), large)


def test_changes_that_the_stream_refuses_stay_failed(clients: Clients, local_aws: LocalAws, fail: Any) -> None:
    make_table(clients, "REFUSED")
    setup = set_up(clients, "refused", TableSettings("REFUSED", max_retries=0, buffer_seconds=SOON))
    give_up(clients, local_aws, fail, setup, 4)
    # The forwarder retries for one second only, so that it answers soon.
    clients.lambda_.update_function_configuration(FunctionName=setup.names.lake.forwarder, Timeout=4)
    fail(service="kinesis", operation="PutRecords", code="InternalFailure", resource=setup.names.stream)
    chunks = plan_chunks(list_failed(Table(clients, setup.names)))
    with pytest.raises(NotReadyError, match=r"replayed changes of table 'REFUSED' are not stored: InternalFailure"):
        replay(clients, setup.names, chunks)
    assert sum(batch.changes for batch in list_failed(Table(clients, setup.names))) == 4
    local_aws.call("DELETE", "/_dynalake/faults")
    replay(clients, setup.names, chunks)
    assert len({c["id"] for c in wait_for_changes(clients, setup.names, 4)}) == 4


def wait_for_failed(clients: Clients, names: TableNames, count: int) -> None:
    eventually(lambda: len(list_failed(Table(clients, names))) >= count)


# -- deletes ----------------------------------------------------------------------------------------------------------


def test_expired_items_are_flagged_and_deleted_ones_are_not(clients: Clients) -> None:
    make_table(clients, "EXPIRES")
    names = set_up(clients, "expires", TableSettings("EXPIRES", buffer_seconds=SOON)).names
    clients.dynamodb.update_time_to_live(
        TableName="EXPIRES", TimeToLiveSpecification={"Enabled": True, "AttributeName": "until"}
    )
    now = int(datetime.now(UTC).timestamp())
    clients.dynamodb.put_item(TableName="EXPIRES", Item={"id": {"S": "old"}, "until": {"N": str(now - 10)}})
    clients.dynamodb.put_item(TableName="EXPIRES", Item={"id": {"S": "new"}, "until": {"N": str(now + 9999)}})
    clients.dynamodb.delete_item(TableName="EXPIRES", Key={"id": {"S": "new"}})
    changes = wait_for_changes(clients, names, 4)
    removed = {change["id"]: change for change in changes if change["__operation"] == "REMOVE"}
    assert removed["old"]["__expired"] is True
    # The old image comes with both.
    assert removed["old"]["until"] == now - 10
    assert removed["new"]["until"] == now + 9999
    assert all("__expired" not in change for change in changes if change is not removed["old"])


def test_a_removal_without_an_old_image_has_the_keys(clients: Clients) -> None:
    make_table(clients, "KEYS", view_type="NEW_IMAGE")
    names = set_up(clients, "keys", TableSettings("KEYS", buffer_seconds=SOON)).names
    clients.dynamodb.put_item(TableName="KEYS", Item={"id": {"S": "a"}, "text": {"S": "x"}})
    clients.dynamodb.delete_item(TableName="KEYS", Key={"id": {"S": "a"}})
    changes = wait_for_changes(clients, names, 2)
    (removed,) = (change for change in changes if change["__operation"] == "REMOVE")
    assert {name: value for name, value in removed.items() if not name.startswith("__")} == {"id": "a"}
