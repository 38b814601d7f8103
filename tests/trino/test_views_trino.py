"""The views on a real Trino: exactly the changes' content, no error while columns come, and few bytes for a key."""

from __future__ import annotations

import random
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pytest

from dynalake.aws.clients import Clients
from dynalake.days import milliseconds
from dynalake.lake.catalog.iceberg import DataFile
from dynalake.lake.catalog.table import schema_of
from dynalake.lake.current.fold import fold
from dynalake.lake.current.key_ranges import Sizes
from dynalake.lake.current.snapshot import number_run, swap_snapshot
from dynalake.lake.current.view_entries import current_texts
from dynalake.lake.current.views import Dialect
from dynalake.lake.files.folders import FolderManifest, Input, new_folder
from dynalake.lake.files.parts import Folder, PartWriter, Writing, parts_of
from dynalake.lake.files.read import read_rows
from dynalake.record.key import ItemKey, KeyAttribute
from infra.local.engines.duckdb import duckdb_rows
from infra.local.engines.trino import Trino
from tests.trino.spark_engine import spark_rows
from tests.trino.view_lake import BY_BOTH, BY_ID, DAY_MS, Event, ViewLake, by_key, check

BY_TWO = ItemKey(KeyAttribute("pk", "S"), KeyAttribute("sk", "S"))
BY_NUMBER = ItemKey(KeyAttribute("n", "N"))

VALUES: dict[str, list[Any]] = {
    "text": ["", "é 📅", '"quoted"', "null", None],
    "flag": [True, False],
    "int": [0, -(2**63), 2**63 - 1],
    "double": [Decimal("0.1"), Decimal("-1.5E+30"), 7],
    "exact": [Decimal("12345678901234567890.25"), Decimal("-0.000000001"), Decimal("1")],
    "digits": [Decimal("1E+125"), Decimal("-9.9E-130"), Decimal("5")],
    "mixed": [1, "1", True, [1, "x"], {"a": None}],
    "list": [[1, None, 3], [], [2**63 - 1]],
    "nested": [
        [{"m": {f"k {i}": {"deep": [{"x": Decimal("1.5")}], "flag": True} for i in range(101)}}],
        [{"m": {}}, None],
        [],
    ],
    "struct": [{"userId": "u", "2019": {"x": [{"y": Decimal("1.5")}]}}, {"end": 1, "order": [1]}, {}],
    "map": [{f"id {i}": {"n": i} for i in range(101)}, {}],
    "userId": ["camel"],
    "select": ["reserved"],
    "the item": ["an alias"],
    "s": [{"id": "a field"}],
    "o": [{"dt": "another"}],
    "dt": ["not the day"],
    "__deleted": ["not the state's"],
}


def random_item(order: random.Random, key: dict[str, Any]) -> dict[str, Any]:
    names = order.sample(sorted(VALUES), order.randint(0, len(VALUES)))
    return {**{name: order.choice(VALUES[name]) for name in names}, **key}


def random_log(order: random.Random, lake: ViewLake, count: int, first: int = 1) -> Iterator[Event]:
    """Make changes of a few items; their keys have numbers that no single type holds."""
    keys = [{"PK": pk, "at": at} for pk in ("a", "a!", "ä") for at in (1, Decimal("1.50"), Decimal("-9E+100"))]
    for sequence in range(first, first + count):
        key = order.choice(keys)
        operation = order.choice(["INSERT", "MODIFY", "MODIFY", "REMOVE"])
        item = key if operation == "REMOVE" and order.random() < 0.5 else random_item(order, key)
        yield Event(sequence, lake.start + sequence * DAY_MS // 40, operation, item)


def test_views_show_what_the_changes_say_whatever_the_types(clients: Clients, trino: Trino, seed: int) -> None:
    """In phases: open days, folded, late and repeated changes, removed and returning items."""
    order = random.Random(seed)
    lake = ViewLake(clients, trino, BY_BOTH)
    assert (lake.current(), lake.removed(), lake.history()) == ([], [], [])
    log = list(random_log(order, lake, 60))
    parts = [log[:20], log[20:30], log[35:50], log[30:37], log[50:]]  # late, and twice
    for part in parts:
        lake.put(part)
        lake.convert()
        check(lake)
        lake.fold(order.choice(log).time)
        check(lake)
    assert len(lake.changes()) == len(log)
    lake.fold(log[-1].time)
    check(lake)
    removed = {lake.identity(row) for row in lake.removed()}
    current = set(by_key(lake.current(), lake))
    assert removed.isdisjoint(current)
    assert removed | current == {lake.identity(row) for row in lake.changes()}


def test_views_of_a_second_snapshot(clients: Clients, trino: Trino) -> None:
    lake = ViewLake(clients, trino, BY_ID)
    lake.put([Event(1, lake.start, "INSERT", {"id": "a", "n": 1}), Event(2, lake.start + 1, "REMOVE", {"id": "gone"})])
    lake.convert()
    for ids in (["a", "b", "gone"], ["b", "c"]):
        run = number_run(lake.table, "-".join(ids))
        swap_snapshot(lake.table, run, [snapshot_of(lake, ids, run)])
        check(lake)
    assert {row["id"] for row in lake.current()} == {"a", "b", "c"}
    lake.fold(lake.start + 1)
    check(lake)


def snapshot_of(lake: ViewLake, ids: list[str], run: int) -> FolderManifest:
    """Write a folder of a backfill's items, each like an existing row."""
    head = lake.table.changes()
    (like,) = [rows for f in head.files() for rows in read_rows(head, [f])][:1]
    rows = [
        {
            **like.slice(0, 1).to_pylist()[0],
            "id": key,
            "n": run,
            "dt": "00000000",
            "__operation": "SNAPSHOT",
            "__sequence_number": "0" * 40,
            "__event_time": lake.start + run,
        }
        for key in ids
    ]
    made_at, folder = milliseconds(lake.now), new_folder()
    with TemporaryDirectory() as directory:
        place = Folder(lake.names.change_folder("00000000", folder), "00000000")
        writer = PartWriter(lake.table, head, head.schema, place, Writing(), Path(directory))
        files = writer.write([pa.Table.from_pylist(rows, schema=like.schema)])
    inputs = (Input(f"{lake.names.snapshot_run(f'r{run}')}0.gz", "e", 1),)
    return FolderManifest(folder, "00000000", made_at, inputs, parts_of(files), run=run)


def test_views_history_is_the_log_at_any_moment(clients: Clients, trino: Trino) -> None:
    order = random.Random(7)
    lake = ViewLake(clients, trino, BY_ID)
    log = []
    for sequence in range(1, 120):
        operation = order.choice(["MODIFY", "MODIFY", "MODIFY", "REMOVE"])
        item = {"id": order.choice("abcde"), "value": sequence}
        log.append(Event(sequence, lake.start + sequence // 2 * 60_000, operation, item))
    for part in (log[::2], log[1::2]):
        lake.put(part)
        lake.convert()
        lake.fold(log[60].time)

    for _ in range(50):
        moment = order.randint(log[0].time - 1, log[-1].time + 1)
        shown = lake.trino(
            f"SELECT id, value FROM {lake.name(lake.names.history_view)} "
            f"WHERE __valid_from <= {moment} AND ({moment} < __valid_to OR __is_current)"
        )
        state: dict[str, int] = {}
        for event in log:
            if event.time <= moment:
                state.pop(event.item["id"], None)
                if event.operation != "REMOVE":
                    state[event.item["id"]] = event.item["value"]
        assert {row["id"]: row["value"] for row in shown} == state
        assert len(shown) == len(state)


def test_views_are_read_while_structs_get_fields(clients: Clients, trino: Trino) -> None:
    """A reader queries after each call that changes anything in Glue."""
    lake = ViewLake(clients, trino, BY_ID)
    lake.put([Event(1, lake.start, "INSERT", {"id": "a", "s": {"x": 1}, "l": [{"m": {"x": 1}}]})])
    lake.convert()
    fold(lake.table, lake.start)
    versions = []

    def ask(**_: Any) -> None:
        versions.append(len(lake.current()))
        lake.removed()
        lake.history()

    for client in (clients.glue, clients.glue_once):
        client.meta.events.register("after-call.glue.UpdateTable", ask, unique_id="ask")
    try:
        event = {"id": "b", "s": {"x": 1, "y": [1]}, "l": [{"m": {"x": 1, "z": "t"}}], "new": 1}
        lake.put([Event(2, lake.start + 1, "INSERT", event)])
        lake.convert()
    finally:
        for client in (clients.glue, clients.glue_once):
            client.meta.events.unregister("after-call.glue.UpdateTable", unique_id="ask")

    assert len(versions) > 8
    assert (versions[0], len(lake.current())) == (1, 2)
    check(lake)


def test_views_of_five_hundred_columns(clients: Clients, trino: Trino) -> None:
    lake = ViewLake(clients, trino, BY_BOTH)
    wide = {f"attribute_with_a_long_name_{n:03}": {"a": n, "b": [str(n)]} if n % 5 == 0 else n for n in range(510)}
    lake.put([Event(n, lake.start + n, "INSERT", {"PK": "a", "at": n, **wide}) for n in range(1, 4)])
    lake.convert()
    assert len(schema_of(lake.table.changes()).columns) == 500
    lake.fold(lake.start + 2)

    check(lake)
    answer = trino.ask(f"SELECT count(*) AS n FROM {lake.name(lake.names.current_view)} WHERE at = 2")
    assert answer.rows == [{"n": 1}]


def test_views_in_the_dialects_of_spark_and_duckdb(
    clients: Clients, trino: Trino, request: pytest.FixtureRequest
) -> None:
    order = random.Random(3)
    lake = ViewLake(clients, trino, BY_BOTH)
    log = list(random_log(order, lake, 30))
    lake.put(log)
    lake.convert()
    lake.fold(log[15].time)
    expected = {lake.identity(row): row["__sequence_number"] for row in lake.current()}
    iceberg = request.getfixturevalue("iceberg")

    def place(dialect: Dialect, name: str) -> str:
        full = f"{lake.names.lake.database}.{name}"
        if dialect.name == "duckdb":
            return f"iceberg_scan('{iceberg.load_table(full).metadata_location}')"
        return f"lake.{full}"

    texts = current_texts(lake.table, place)
    for rows in (
        duckdb_rows(request.getfixturevalue("duckdb"), texts["duckdb"]),
        spark_rows(request.getfixturevalue("spark"), texts["spark"]),
    ):
        assert {lake.identity(row): row["__sequence_number"] for row in rows} == expected


# -- bytes ---------------------------------------------------------------------------------------------------------

SMALL_FILES = Sizes(file=15_000, small=5_000, group=1 << 30)


def noise(order: random.Random) -> str:
    return f"{order.getrandbits(2048):x}"


def bytes_read(lake: ViewLake, where: str) -> int:
    answer = lake.trino.ask(f"SELECT * FROM {lake.name(lake.names.current_view)} WHERE {where}")
    assert len(answer.rows) == 1, where
    return answer.input_bytes


@pytest.mark.parametrize(
    ("key", "items", "where"),
    [
        (BY_ID, [{"id": f"k{n:04}"} for n in range(1200)], "id = 'k0700'"),
        (BY_NUMBER, [{"n": n - 600} for n in range(1200)], "n = -7"),
        (BY_TWO, [{"pk": f"p{n % 3}", "sk": f"s{n:04}"} for n in range(1200)], "pk = 'p1' AND sk = 's0700'"),
        (BY_BOTH, [{"PK": f"p{n % 300}", "at": n} for n in range(1200)], "PK = 'p100' AND at = 700"),
    ],
    ids=["text", "number", "two texts", "text and number"],
)
def test_views_read_one_file_of_the_state_for_a_key(
    clients: Clients, trino: Trino, key: ItemKey, items: list[dict[str, Any]], where: str
) -> None:
    order = random.Random(1)
    lake = ViewLake(clients, trino, key)
    lake.put(Event(n, lake.start + n, "INSERT", {**item, "v": noise(order)}) for n, item in enumerate(items, 1))
    lake.convert()
    lake.fold(lake.start + len(items), SMALL_FILES)
    live = lake.table.items().files({False})
    assert len(live) > 5

    whole = sum(f.size for f in live)
    read = bytes_read(lake, where)
    assert read < 2.5 * max(f.size for f in live)
    assert read < whole / 3


def test_views_read_no_more_for_a_key_as_history_grows(clients: Clients, trino: Trino) -> None:
    order = random.Random(1)
    lake = ViewLake(clients, trino, BY_ID)
    ids = [f"k{n:03}" for n in range(200)]
    sequence, reads, files = 0, [], 0
    for day in range(5):
        for _ in range(3):
            events = []
            for key in ids:
                sequence += 1
                event = {"id": key, "v": noise(order)}
                events.append(Event(sequence, lake.start + day * DAY_MS + sequence, "MODIFY", event))
            lake.put(events)
            lake.convert()
        lake.fold(lake.start + day * DAY_MS + sequence, SMALL_FILES)
        reads.append(bytes_read(lake, "id = 'k100'"))
        files = len(lake.table.changes().files())

    assert files >= 15
    # The size of files is known only after some were written.
    assert max(reads[2:]) < 1.2 * reads[1], reads


def test_views_history_of_a_key_reads_the_files_that_may_hold_it(clients: Clients, trino: Trino) -> None:
    order = random.Random(1)
    lake = ViewLake(clients, trino, BY_ID)
    for part in range(6):
        ids = [f"p{part}-{n:03}" for n in range(150)]
        lake.put(
            Event(part * 1000 + n, lake.start + part * DAY_MS // 2, "INSERT", {"id": key, "v": noise(order)})
            for n, key in enumerate(ids, 1)
        )
        lake.convert()
    files: list[DataFile] = list(lake.table.changes().files())

    answer = trino.ask(f"SELECT * FROM {lake.name(lake.names.history_view)} WHERE id = 'p3-007'")
    assert len(answer.rows) == 1
    assert answer.input_bytes <= 1.2 * max(f.size for f in files)
