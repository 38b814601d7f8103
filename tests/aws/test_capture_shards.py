"""A table whose Kinesis stream changes its mode and shards while it is written to."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from dynalake.aws.clients import Clients
from dynalake.capture.stacks.stacks import stack_state
from dynalake.options.settings import TableSettings
from tests.aws.writer import MORE, Writer
from tests.support.aws.capture_steps import SetUp, make_table, set_up, wait_for_changes

TABLE = "RESHARDED"


def identity(clients: Clients, setup: SetUp) -> tuple[object, ...]:
    """Return ids that differ after any part of the pipeline was replaced; names and ARNs alone can be reused."""
    names = setup.names
    stream = clients.kinesis.describe_stream_summary(StreamName=names.stream)["StreamDescriptionSummary"]
    delivery = clients.firehose.describe_delivery_stream(DeliveryStreamName=names.delivery_stream)
    mapping = clients.lambda_.get_event_source_mapping(UUID=setup.mapping_id)
    resources = clients.cloudformation.describe_stack_resources(StackName=names.stack)["StackResources"]
    return (
        clients.cloudformation.describe_stacks(StackName=names.stack)["Stacks"][0]["StackId"],
        (stream["StreamARN"], stream["StreamCreationTimestamp"]),
        delivery["DeliveryStreamDescription"]["CreateTimestamp"],
        (mapping["UUID"], mapping["EventSourceArn"]),
        sorted((resource["LogicalResourceId"], resource["PhysicalResourceId"]) for resource in resources),
        setup.hand_off,
    )


def stream_ids(clients: Clients, stream: str) -> list[str]:
    """Return the item ids that another consumer of the stream reads, in all its shards, closed ones too."""
    ids: list[str] = []
    for shard in clients.kinesis.list_shards(StreamName=stream)["Shards"]:
        answer = clients.kinesis.get_shard_iterator(
            StreamName=stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )
        iterator: str | None = answer["ShardIterator"]
        while iterator:
            page = clients.kinesis.get_records(ShardIterator=iterator)
            for record in page["Records"]:
                changes = map(json.loads, record["Data"].decode().splitlines())
                ids += [change["id"] for change in changes if change["__operation"] != "CANARY"]
            # An open shard always has a next iterator; a closed shard ends.
            iterator = page.get("NextShardIterator") if page["Records"] else None
    return ids


def test_shards_change_in_place_under_writes_and_nothing_is_lost(clients: Clients) -> None:
    make_table(clients, TABLE)
    first = set_up(clients, "resharded", TableSettings(TABLE))
    as_it_was = identity(clients, first)
    stream = first.names.stream
    versions = [stack_state(clients, first.names.stack).version]
    writer = Writer(clients, TABLE)
    with writer.writing():
        writer.wait_for_more()
        # A stream that becomes on-demand keeps its shards and continues from there: here to one again.
        for settings, mode, shards in (
            (TableSettings(TABLE, shards=3), "PROVISIONED", 3),
            (TableSettings(TABLE, stream_mode="on_demand"), "ON_DEMAND", 3),
            (TableSettings(TABLE), "PROVISIONED", 1),
        ):
            setup = set_up(clients, "resharded", settings, update=True)
            summary = clients.kinesis.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]
            assert (summary["StreamModeDetails"]["StreamMode"], summary["OpenShardCount"]) == (mode, shards)
            state = stack_state(clients, first.names.stack)
            assert state.status == "UPDATE_COMPLETE"
            assert state.parameters["Shards"] == str(shards)
            assert identity(clients, setup) == as_it_was
            versions.append(state.version)
            writer.wait_for_more()
    assert writer.error is None
    assert len(set(versions)) == 4
    assert len(writer.written) >= 4 * MORE
    # The first shards are closed, and received writes before as the last ones do now.
    all_shards = clients.kinesis.list_shards(StreamName=stream)["Shards"]
    # In steps: 1, 2, 3, and back by 2.
    assert len([s for s in all_shards if "EndingSequenceNumber" in s["SequenceNumberRange"]]) == 1 + 2 + 3 + 2

    changes = wait_for_changes(clients, first.names, len(writer.written))
    assert sorted(change["id"] for change in changes) == sorted(writer.written)
    # Local AWS hands records to Firehose directly, so the shards' contents are checked separately.
    assert sorted(stream_ids(clients, stream)) == sorted(writer.written)


def write_units(clients: Clients, table: str, units: int) -> None:
    """Publish DynamoDB's metrics of a minute in which the table consumed these write units."""
    dimensions = [{"Name": "TableName", "Value": table}]
    index = {"Name": "GlobalSecondaryIndexName", "Value": "byDay"}
    at = datetime.now(UTC) - timedelta(days=3)
    for about, value in ((dimensions, units), ([*dimensions, index], 1000 * units)):
        point = {"MetricName": "ConsumedWriteCapacityUnits", "Dimensions": about, "Timestamp": at, "Value": value}
        clients.cloudwatch.put_metric_data(Namespace="AWS/DynamoDB", MetricData=[point])  # type: ignore[list-item]


def test_a_stream_has_the_shards_that_the_peak_of_the_table_needs(clients: Clients) -> None:
    """They grow with the peak, step by step, and stay if the peak stays or falls only a little."""
    make_table(clients, "PEAKS")
    settings = TableSettings("PEAKS")
    names = set_up(clients, "peaks", settings).names

    def shards() -> int:
        set_up(clients, "peaks", settings)
        return clients.kinesis.describe_stream_summary(StreamName=names.stream)["StreamDescriptionSummary"][
            "OpenShardCount"
        ]

    assert shards() == 1
    # Items of 1 KB, the assumption for an empty table: 1.6 KB each as a line; a shard takes 700 KB a second.
    write_units(clients, "PEAKS", 60 * 2000)
    assert [shards(), shards()] == [5, 5]
    version = stack_state(clients, names.stack).version
    assert shards() == 5
    assert stack_state(clients, names.stack).version == version
