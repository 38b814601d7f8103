"""What `dynalake_watch` reports of a table on local AWS, with and without trouble."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from dynalake.aws.clients import Clients
from dynalake.backfill.plan.run import plan_backfill
from dynalake.backfill.scan.scan import scan_segment
from dynalake.capture.source.source import check_source
from dynalake.convert.batch import convert_batch
from dynalake.convert.snapshot import plan_snapshot, show_snapshot
from dynalake.days import shift_day
from dynalake.errors import AlarmError, NotReadyError, RecordError, SourceError
from dynalake.lake.catalog.table import Table
from dynalake.lake.compaction.compact_options import CompactOptions
from dynalake.lake.current.fold import fold
from dynalake.lake.current.snapshot import number_run
from dynalake.lake.tables.identity import check_live_table, check_table, table_id_of
from dynalake.lake.tables.make import make_tables
from dynalake.names import TableNames
from dynalake.night.compact import compact_table
from dynalake.options.backfill import BackfillOptions
from dynalake.options.settings import TableSettings
from dynalake.record.change import encode_change
from dynalake.watch.gather import gather
from dynalake.watch.judge import Targets
from dynalake.watch.readings import Readings
from dynalake.watch.status import TableStatus, check_alarms, load_overview, load_status, save_overview, save_status
from tests.support.aws.capture_steps import SetUp, make_table, patiently, set_up, wait_for_changes
from tests.support.aws.lake import convert

TARGETS = Targets()
_numbers = count()
Captured = Callable[..., SetUp]


@pytest.fixture
def captured(clients: Clients) -> Captured:
    """A table that is set up, and backfilled while empty."""

    def make(**settings: Any) -> SetUp:
        table = f"WATCH-{next(_numbers)}"
        make_table(clients, table)
        setup = set_up(clients, "watch", TableSettings(table, **settings))
        names = setup.names
        make_tables(Table(clients, names), setup.source.key, setup.source.arn, table_id=setup.source.id)
        back_fill(clients, names, "first")
        # Only the proof's canaries are to be converted.
        convert(Table(clients, names))
        return setup

    return make


def back_fill(clients: Clients, names: TableNames, run: str) -> None:
    plan = plan_backfill(
        Table(clients, names), run, BackfillOptions(segments=1, updated_before=datetime.now(UTC).isoformat())
    )
    scan_segment(Table(clients, names), run=run, segment=0)
    table = Table(clients, names)
    batches = plan_snapshot(table, plan.prefix(names), datetime.now(UTC)).batches
    for batch in batches:
        convert_batch(table, batch)
    shown = show_snapshot(table, number_run(table, plan.run), batches[0].plan if batches else "", range(len(batches)))
    assert shown.shown


def look(
    clients: Clients, names: TableNames, previous: Readings | None = None, after: timedelta = timedelta(), **more: Any
) -> TableStatus:
    """Return the table's status `after` some time."""
    settings = TableSettings(names.table)
    now = datetime.now(UTC) + after
    readings = gather(Table(clients, names), settings, TARGETS, now, previous=previous, **more)
    return TableStatus.of(names.table, readings, TARGETS)


def put(clients: Clients, names: TableNames, **items: Any) -> None:
    for name, value in items.items():
        clients.dynamodb.put_item(TableName=names.table, Item={"id": {"S": name}, "n": value})


def put_raw(clients: Clients, names: TableNames, day: str, name: str, lines: list[str]) -> None:
    body = gzip.compress("".join(f"{line}\n" for line in lines).encode())
    clients.s3.put_object(Bucket=names.lake.bucket, Key=f"{names.raw_day(day)}{name}", Body=body)


def reads(status: TableStatus) -> TableStatus:
    if status.readings.capture.state != "Enabled":
        raise NotReadyError(status.readings.capture.state)
    return status


def disabled(status: TableStatus) -> TableStatus:
    if status.readings.capture.state != "Disabled":
        raise NotReadyError(status.readings.capture.state)
    return status


def messages(status: TableStatus) -> str:
    return "\n".join(f"{verdict.state}: {verdict.message}" for verdict in status.verdicts)


def test_a_healthy_table(clients: Clients, client: Callable[[str], Any], captured: Captured) -> None:
    names = captured().names
    put(clients, names, a={"N": "1"}, b={"N": "12345678901234567890123456789012345678"}, c={"S": "ü"})
    clients.dynamodb.delete_item(TableName=names.table, Key={"id": {"S": "c"}})
    wait_for_changes(clients, names, 4)
    status = look(clients, names)
    assert messages(status) == ""
    assert status.state == "ok"
    readings = status.readings
    assert readings.capture.state == "Enabled"
    assert readings.capture.iterator_age_seconds is not None
    assert readings.landing.firehose_age_seconds is not None
    assert readings.landing.newest_change is not None
    assert readings.at - readings.landing.newest_change < 60_000
    assert readings.landing.lag_seconds is not None
    assert readings.lake.snapshot == "first"
    assert (readings.comparison.compared, readings.comparison.equal, readings.comparison.doubts) == (3, 3, ())

    # Landed changes are on their way into the tables, and then in them.
    assert readings.lake.unconverted > 0
    assert readings.at - readings.lake.unconverted_since < 60_000  # type: ignore[operator]
    convert(Table(clients, names))
    table = Table(clients, names)
    fold(table, readings.landing.newest_change)
    status = look(clients, names, readings)
    assert messages(status) == ""
    readings = status.readings
    assert (readings.lake.unconverted, readings.lake.unconverted_since) == (0, None)
    assert (readings.lake.changes.rows, readings.lake.state.rows, readings.lake.unfolded) == (4, 3, 0)
    assert readings.lake.newest_change == readings.lake.folded_to == readings.landing.newest_change
    assert sum(day.size.rows for day in readings.lake.days) == 4
    assert readings.lake.queries["spark"].startswith("SELECT `id`")

    # Nothing has landed since, so nothing is read again, and the results stay.
    calls: list[str] = []

    def counting(service: str) -> Any:
        counted = client(service)
        counted.meta.events.register("before-call", lambda model, **_: calls.append(model.name))
        return counted

    second = look(Clients(counting), names, readings)
    assert len(calls) < 25, calls
    assert not {call for call in calls if call.startswith(("Put", "Update", "Create", "Delete"))}
    assert "BatchGetItem" not in calls
    assert second.readings.landing.newest_change == readings.landing.newest_change
    assert second.readings.comparison == readings.comparison
    assert second.readings.lake == readings.lake


def test_a_status_is_stored_and_read_back_unchanged(clients: Clients, captured: Captured) -> None:
    names = captured().names
    put(clients, names, a={"N": "1"})
    wait_for_changes(clients, names, 1)
    assert load_status(Table(clients, names)) is None
    status = look(clients, names)
    save_status(Table(clients, names), status)
    assert load_status(Table(clients, names)) == status
    overview = save_overview(clients, names.lake, [names.table, "NEVER-LOOKED-AT"], datetime.now(UTC))
    assert [table_status.table for table_status in overview.tables] == [names.table, "NEVER-LOOKED-AT"]
    assert overview.tables[1].is_stale(datetime.now(UTC))
    assert status.readings.lake.queries
    assert overview.tables[0] == status.shortened(), "everything except the long parts"
    assert not overview.tables[0].readings.lake.queries
    assert load_overview(clients, names.lake) == overview

    # A status of another version does not make every run fail: the table is read again.
    for key in (names.watch_state, names.lake.watch_overview):
        clients.s3.put_object(Bucket=names.lake.bucket, Key=key, Body=b'{"table": "X"}')
    assert load_status(Table(clients, names)) is None
    with pytest.raises(RecordError, match=r"watch.json is not what dynalake_watch writes \(KeyError"):
        load_overview(clients, names.lake)


def test_a_stopped_mapping(clients: Clients, captured: Captured) -> None:
    setup = captured()
    clients.lambda_.update_event_source_mapping(UUID=setup.mapping_id, Enabled=False)
    status = patiently(lambda: disabled(look(clients, setup.names)))
    assert status.state == "stopped"
    with pytest.raises(
        AlarmError, match=rf"{setup.names.table} is stopped: The mapping .* is Disabled \(since .*--enabled"
    ):
        check_alarms([status])
    assert look(clients, setup.names, after=timedelta(hours=13)).state == "expiring"
    lost = look(clients, setup.names, after=timedelta(hours=25))
    assert lost.state == "lost"

    # Neither a new mapping nor a snapshot restores lost changes: only an operator can say that the loss is repaired.
    clients.lambda_.update_event_source_mapping(UUID=setup.mapping_id, Enabled=True)
    back_fill(clients, setup.names, "second")
    then = timedelta(hours=26)
    assert patiently(lambda: reads(look(clients, setup.names, lost.readings, after=then))).state == "lost"
    repaired = replace(lost.readings, lost_at=None, repaired_at=lost.readings.lost_at)
    assert look(clients, setup.names, repaired, after=then).state == "ok"


def test_a_stream_that_was_turned_off(clients: Clients, captured: Captured) -> None:
    """The mapping stays enabled and healthy, but no change comes, not even when the table has a stream again."""
    names = captured().names
    on = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
    first = look(clients, names)
    assert first.state == "ok"
    clients.dynamodb.update_table(TableName=names.table, StreamSpecification={"StreamEnabled": False})
    put(clients, names, a={"N": "1"})
    off = look(clients, names, first.readings)
    assert "lost: The table's stream is off" in messages(off)
    clients.dynamodb.update_table(TableName=names.table, StreamSpecification=on)  # type: ignore[arg-type]
    another = look(clients, names, off.readings)
    assert "lost: The table's stream was turned off and on" in messages(another)

    # Setup captures the new one; the changes in between have to be brought back.
    set_up(clients, "watch", TableSettings(names.table))
    after = look(clients, names, another.readings)
    assert after.readings.capture.stream == ""
    assert (after.state, after.readings.lost_at) == ("lost", after.readings.hand_off)

    clients.dynamodb.delete_table(TableName=names.table)
    assert "stopped: The DynamoDB table no longer exists" in messages(look(clients, names, after.readings))

    make_table(clients, names.table)
    put(clients, names, of_the_new_table={"N": "1"})
    replaced = look(clients, names, after.readings)
    assert replaced.state == "replaced"
    assert "of_the_new_table" not in str(replaced.readings.comparison)
    table = Table(clients, names)
    with pytest.raises(SourceError, match="deleted and made again"):
        check_table(table, check_source(clients, names.table).id)
    with pytest.raises(SourceError, match="deleted and made again"):
        check_live_table(table)
    with pytest.raises(SourceError, match="deleted and made again"):
        plan_backfill(Table(clients, names), "replaced", BackfillOptions(), table_id=table_id_of(table.changes()))


def test_changes_that_do_not_land(clients: Clients, captured: Captured) -> None:
    """Firehose cannot write, so its oldest change gets older than the target."""
    names = captured().names
    dimensions = [{"Name": "DeliveryStreamName", "Value": names.delivery_stream}]
    data: Any = [{"MetricName": "DeliveryToS3.DataFreshness", "Value": 1200, "Dimensions": dimensions}]
    clients.cloudwatch.put_metric_data(Namespace="AWS/Firehose", MetricData=data)
    status = look(clients, names)
    assert status.state == "late"
    assert "20 min old; the target is 15 minutes" in messages(status)


def test_rejected_changes(clients: Clients, captured: Captured) -> None:
    setup = captured()
    names = setup.names
    bucket, day = names.lake.bucket, names.lake.day_of(datetime.now(UTC))
    clients.s3.put_object(Bucket=bucket, Key=f"{names.rejected('forwarder')}dt={day}/1.json", Body=b"{}")
    clients.s3.put_object(Bucket=bucket, Key=f"{names.rejected('delivery')}dt={day}/1.gz", Body=b"x")
    clients.s3.put_object(Bucket=bucket, Key=f"{names.lake.failed_batches}{setup.mapping_id}/shard/1", Body=b"{}")
    clients.s3.put_object(Bucket=bucket, Key=f"{names.lake.failed_batches}another/shard/1", Body=b"{}")
    status = look(clients, names)
    assert status.readings.rejected == {"mapping": 1, "forwarder": 1, "delivery": 1, "convert": 0}
    assert status.state == "attention"
    check_alarms([status])


def test_a_rejected_line_and_days_that_nobody_converts_or_compacts(clients: Clients, captured: Captured) -> None:
    names = captured().names
    today = names.lake.day_of(datetime.now(UTC))
    days = [shift_day(today, -3), shift_day(today, -2)]
    lines = [
        encode_change({"id": {"S": "x"}}, operation="INSERT", sequence_number=number, event_time=1_600_000_000_000)
        for number in ("1", "2")
    ]
    put_raw(clients, names, days[0], "a.gz", [lines[0], "no change record"])
    put_raw(clients, names, days[1], "a.gz", lines)
    first = look(clients, names)
    assert (first.state, first.readings.lake.unconverted) == ("ok", 2)
    late = look(clients, names, first.readings, after=timedelta(minutes=62))
    assert late.state == "late"
    assert "late: Raw objects waiting for conversion: 2, the oldest for 62 min" in messages(late)

    convert(Table(clients, names))
    status = look(clients, names, late.readings)
    assert [wait.day for wait in status.readings.lake.waiting] == days
    assert messages(status) == "attention: Raw objects with lines that conversion rejected: 1"
    tired = look(clients, names, status.readings, after=timedelta(hours=27))
    assert f"Days waiting for compaction: 2, the first (dt={days[0]}) for 27 h" in messages(tired)

    report = compact_table(Table(clients, names), CompactOptions(), lambda: datetime.now(UTC))
    assert report.faults == ()
    recovered = look(clients, names, tired.readings)
    assert recovered.readings.lake.waiting == ()
    # Today has canaries.
    assert [day.day for day in recovered.readings.lake.days if day.day != today] == days
    assert recovered.readings.lake.changes.rows == sum(day.size.rows for day in recovered.readings.lake.days) == 2


def test_unreadable_tables_hide_no_other_trouble(clients: Clients, captured: Captured) -> None:
    setup = captured()
    names = setup.names
    clients.lambda_.update_event_source_mapping(UUID=setup.mapping_id, Enabled=False)
    clients.glue.delete_table(DatabaseName=names.lake.database, Name=names.state_table)
    broken = patiently(lambda: disabled(look(clients, names)))
    assert f"stopped: There is no table {names.state_table} in the Glue database" in messages(broken)
    assert "stopped: The mapping that reads the stream is Disabled" in messages(broken)
    table = Table(clients, names)
    make_tables(table, setup.source.key, setup.source.arn)
    whole = look(clients, names, broken.readings)
    assert [verdict.message[:11] for verdict in whole.verdicts] == ["The mapping"]

    snapshot = table.changes().iceberg.metadata.current_snapshot()
    assert snapshot is not None
    manifests = snapshot.manifest_list.removeprefix(names.uri(""))
    clients.s3.delete_object(Bucket=names.lake.bucket, Key=manifests)
    assert f"stopped: The tables name s3://{names.lake.bucket}/{manifests}" in messages(look(clients, names))


def test_an_item_that_differs_in_the_lake(clients: Clients, captured: Captured) -> None:
    """The stream never had the change: it is written while nothing captures it, like a lost one."""
    names = captured().names
    put(clients, names, a={"N": "1"}, b={"N": "1"})
    wait_for_changes(clients, names, 2)
    day, now = names.lake.day_of(datetime.now(UTC)), round(datetime.now(UTC).timestamp() * 1000)
    wrong = encode_change(
        {"id": {"S": "a"}, "n": {"N": "2"}}, operation="MODIFY", sequence_number="9" * 38, event_time=now
    )
    put_raw(clients, names, day, "wrong.gz", [wrong])
    first = look(clients, names)
    assert (first.state, first.readings.comparison.equal) == ("ok", 1)
    assert [doubt.key for doubt in first.readings.comparison.doubts] == ['["a"]']
    # It is doubtful for a while, since the change may be on its way.
    second = look(clients, names, first.readings, after=timedelta(minutes=10))
    assert second.readings.comparison.doubts == first.readings.comparison.doubts
    third = look(clients, names, second.readings, after=timedelta(minutes=31))
    assert third.state == "differs"
    message = '1 of 2 compared items differ between the lake and DynamoDB; the first: ["a"]'
    assert message in messages(third)
    # When the change has landed after all, the item is right again.
    put_raw(clients, names, day, "late.gz", [json.dumps({**json.loads(wrong), "n": 1})])
    assert look(clients, names, third.readings, after=timedelta(minutes=41)).state == "ok"


def test_an_item_that_changes_during_the_comparison_is_not_a_difference(clients: Clients, captured: Captured) -> None:
    names = captured().names
    put(clients, names, a={"N": "1"})
    wait_for_changes(clients, names, 1)
    first = look(clients, names)
    put(clients, names, a={"N": "2"})
    wait_for_changes(clients, names, 2)
    second = look(clients, names, first.readings)
    assert (second.readings.comparison.compared, second.readings.comparison.equal) == (2, 2)


def test_a_table_whose_setup_has_not_finished(clients: Clients, captured: Captured) -> None:
    names = captured().names
    clients.s3.delete_object(Bucket=names.lake.bucket, Key=names.hand_off)
    assert look(clients, names).state == "new"
