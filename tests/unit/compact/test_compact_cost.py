"""What a run costs: AWS calls that follow what changed, not the history; and as many tables as there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dynalake.catalog.partitions import list_partitions
from dynalake.catalog.register import register_table
from dynalake.catalog.tables import read_schema
from dynalake.catalog.views import ViewState, Watermark, write_views
from dynalake.clients import Clients
from dynalake.compact.plan import INPUTS, plan_table, survey
from dynalake.compact.publish import publish_table
from dynalake.compact.supersede import delete_superseded
from dynalake.days import shift_day
from tests.unit.compact.lake import KEY, TestLake, noon
from tests.unit.compact.test_compact_flow import A

FIRST = "20200101"


@contextmanager
def counted(clients: Clients) -> Iterator[Counter[str]]:
    """The AWS calls that are made in the block, by name."""
    made: Counter[str] = Counter()
    for client in (clients.s3, clients.glue):
        client.meta.events.register("before-call.*.*", lambda model, **_: made.update([model.name]), unique_id="count")
    try:
        yield made
    finally:
        for client in (clients.s3, clients.glue):
            client.meta.events.unregister("before-call.*.*", unique_id="count")


def compacted(lake: TestLake, days: int) -> str:
    """That many days, each with a raw object and its Parquet as a run leaves them; the last of them.

    One day is converted; the others get what its publish wrote, because converting takes long.
    """
    lake.put(FIRST, "1.gz", lake.lines([A]))
    lake.run(noon(shift_day(FIRST, 1)))
    delete_superseded(lake.clients, lake.names, lake.options, noon(FIRST))
    (first,) = list_partitions(lake.clients, lake.names, lake.names.typed_table).values()
    raw = [shift_day(FIRST, number) for number in range(1, days)]
    body = lake.body(lake.names.raw_day(FIRST) + "1.gz")
    for day in raw:
        lake.put(day, "1.gz", body)
    made: list[Any] = []
    for day, found in survey(lake.clients, lake.names, shift_day(FIRST, 1)).items():
        location = lake.names.uri(f"{lake.names.parquet_prefix}dt={day}/v=1/")
        parameters = {**first.parameters, INPUTS: found.inputs}
        made.append({"Values": [day], "StorageDescriptor": {"Location": location}, "Parameters": parameters})
    for start in range(0, len(made), 100):
        lake.clients.glue.batch_create_partition(
            DatabaseName=lake.names.lake.database,
            TableName=lake.names.typed_table,
            PartitionInputList=made[start : start + 100],
        )
    last = shift_day(FIRST, days - 1)
    schema = read_schema(lake.clients, lake.names)
    write_views(lake.clients, lake.names, lambda *_: ViewState(schema, Watermark(last)))
    return last


def nightly(lake: TestLake, last: str) -> Counter[str]:
    """The calls of a run on the day after tomorrow, when nothing is due."""
    now = noon(shift_day(last, 2))
    with counted(lake.clients) as made:
        assert plan_table(lake.clients, lake.names, lake.options, now) == ()
        assert not publish_table(lake.clients, lake.names, [], lake.options, now).changed
        assert delete_superseded(lake.clients, lake.names, lake.options, now) == ()
    return made


def test_a_run_over_closed_days_costs_the_same_for_10_and_for_1000(lake: TestLake) -> None:
    few = TestLake(lake.clients, lake.names.lake.table("FEW"))
    register_table(few.clients, few.names, KEY, source_arn="arn")
    calls = nightly(few, compacted(few, 10))
    assert nightly(lake, compacted(lake, 1000)) == calls
    assert calls.total() < 40
    assert calls["ListObjectsV2"] <= 4
    assert calls["GetPartitions"] <= 2


def test_a_late_object_costs_one_day(lake: TestLake) -> None:
    last = compacted(lake, 100)
    lake.put(last, "2.gz", lake.lines([A]))
    now = noon(shift_day(last, 2))
    with counted(lake.clients) as made:
        assert lake.run(now).days == (last,)
    assert made.total() < 60
