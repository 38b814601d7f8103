"""Ten tables set up in setup lake at once, each with its own pipeline."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from dynalake.aws.clients import Clients
from dynalake.capture.lake.registry import list_tables, load_lake, load_settings
from dynalake.lake.catalog.table import Table
from dynalake.options.settings import TableSettings
from tests.support.aws.capture_steps import SetUp, make_table, set_up, wait_for_changes

TABLES = [f"TEN.{number}_table" if number % 2 else f"TEN-{number}" for number in range(10)]


def settings(table: str) -> TableSettings:
    number = TABLES.index(table)
    return TableSettings(table, delivery="direct" if number % 3 == 0 else "kinesis", max_record_kb=5 + number)


def test_ten_tables_at_once(clients: Clients) -> None:
    for table in TABLES:
        make_table(clients, table)
    with ThreadPoolExecutor(10) as threads:
        setups: list[SetUp] = list(threads.map(lambda table: set_up(clients, "ten", settings(table)), TABLES))
    assert len({setup.mapping_id for setup in setups}) == 10
    lake = load_lake(clients, "ten")
    assert list_tables(clients, lake) == tuple(sorted(TABLES))
    assert [load_settings(Table(clients, lake.table(table))) for table in TABLES] == list(map(settings, TABLES))

    def write(setup: SetUp) -> int:
        count = 20 + TABLES.index(setup.names.table)
        for number in range(count):
            item = {"id": {"S": f"{setup.names.table}/{number}"}, "filler": {"S": "x" * 500}}
            clients.dynamodb.put_item(TableName=setup.names.table, Item=item)
        return count

    with ThreadPoolExecutor(5) as threads:
        counts = list(threads.map(write, setups))
    for setup, count in zip(setups, counts, strict=True):
        changes = wait_for_changes(clients, setup.names, count)
        assert sorted(change["id"] for change in changes) == sorted(f"{setup.names.table}/{n}" for n in range(count))
    assert sum(counts) == 245
