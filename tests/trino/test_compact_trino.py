"""Compaction on real engines: the same values in every table, and undisturbed readers while types change."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal
from typing import Any

from dynalake.aws.clients import Clients
from dynalake.lake.catalog.table import schema_of
from dynalake.lake.columns.retype import parse_json
from dynalake.lake.compaction.compact_options import CompactOptions
from dynalake.lake.compaction.day import order_of, plan_compaction
from dynalake.lake.files.read import count_deleted
from dynalake.lake.types.union import List, Map, Mixed, Number, Struct, Type
from dynalake.night.compact import CompactReport, compact_table
from dynalake.record.change import EVENT_TIME, OPERATION, SEQUENCE_NUMBER
from infra.local.engines.trino import Trino
from tests.support.memory.receipts import as_text
from tests.trino.readers import ENGINES, ReadTable
from tests.trino.view_lake import BY_BOTH, BY_ID, DAY_MS, Event, ViewLake, check

OPTIONS = CompactOptions(orc_copy=True)


def night(lake: ViewLake, **more: Any) -> CompactReport:
    """Run the night after all days of the log."""
    night_result = compact_table(lake.table, OPTIONS, lambda: lake.now + timedelta(hours=1), **more)
    assert night_result.faults == ()
    return night_result


def changes_of(lake: ViewLake, rows: Iterable[dict[str, Any]]) -> Counter[str]:
    """Return the rows of any engine and table as they were written: metadata, and attributes as plain values."""
    schema = schema_of(lake.table.changes())
    counts: Counter[str] = Counter()
    for row in rows:
        item = {name: row[name] for name in (OPERATION, SEQUENCE_NUMBER, EVENT_TIME)}
        item |= {a: parse_json(text) for a, text in (row.get("__other") or {}).items()}
        for column in schema.columns:
            if row.get(column.name) is not None:
                assert column.attribute not in item
                item[column.attribute] = plain(row[column.name], column.type)
        counts[as_text(item)] += 1
    return counts


def plain(value: Any, of: Type) -> Any:
    if value is None:
        return None
    match of:
        case Number():
            return Decimal(repr(value) if isinstance(value, float) else value)
        case Struct(fields) if fields:
            return {f.key: plain(value[f.name], f.type) for f in fields if value[f.name] is not None}
        case Struct() | Map():
            inner = of.value if isinstance(of, Map) else Mixed()
            return {k: plain(v, inner) for k, v in value.items()}
        case List(element):
            return [plain(v, element) for v in value]
        case Mixed():
            return parse_json(value)
        case _:
            return value


def without_empty(texts: Counter[str]) -> Counter[str]:
    """Return the same without attributes and fields that are empty lists or maps."""
    counts: Counter[str] = Counter()
    for text, count in texts.items():
        while text != (shorter := re.sub(r"'[^']*':(\[\]|\{\}),?", "", text)):
            text = shorter
        counts[text.replace(",}", "}")] += count
    return counts


def written(events: Iterable[Event]) -> Counter[str]:
    return Counter(
        as_text({OPERATION: e.operation, SEQUENCE_NUMBER: f"{e.sequence:040d}", EVENT_TIME: e.time, **e.item})
        for e in events
    )


GROWING: dict[str, list[Any]] = {
    "n": [1, Decimal("1.5"), Decimal("12345678901234567.0625"), "text", -(2**63)],
    "price": [Decimal("0.1"), 7, Decimal("0.1234567890123456789"), Decimal("1E+30"), Decimal("-9.9E-130")],
    "s": [{"a": 1}, {"a": 1, "B c": "x"}, {"a": Decimal("0.25")}, {"a": [True]}, {"a": None, "2019": {}}],
    "l": [[], [1, None], [Decimal("0.5")], ["x"], [{"k": None}]],
    "m": [{f"k {i}": i for i in range(101)}, {"k": Decimal("1.5")}, {"": None}, {"k": "x"}, {"k": [{}]}],
    "late": [[], {}, [[1]], [["x"]], 5],
    "Odd Name": [True, "true", 0, None, {"x": 1}],
    "userId": ["u", "é 📅", '"', 7, ["u"]],
    "steady": [[{"m": {"x": [1]}}], [{"m": {"x": [2**62, None]}}], [], [None], [{}]],
}
"""Values by phase: each has a type that is new to the attribute."""


def growing_log(order: random.Random, lake: ViewLake, phase: int, first: int, count: int) -> list[Event]:
    keys = [{"PK": pk, "at": at} for pk in ("a", "a!", "ä") for at in (1, Decimal("1.50"), Decimal("-9E+100"))]
    events = []
    for sequence in range(first, first + count):
        names = order.sample(sorted(GROWING), order.randint(3, len(GROWING)))
        values = {name: GROWING[name][order.choice([phase, order.randint(0, phase)])] for name in names}
        operation = order.choice(["INSERT", "MODIFY", "MODIFY", "REMOVE"])
        events.append(
            Event(sequence, lake.start + sequence * DAY_MS // 40, operation, {**values, **order.choice(keys)})
        )
    return events


def test_every_value_is_exact_in_every_table_after_every_night(
    clients: Clients, trino: Trino, read_table: ReadTable, seed: int
) -> None:
    """Types change from phase to phase; late and repeated changes arrive on compacted days."""
    order = random.Random(2 + seed)  # these change every type that is asserted below
    lake = ViewLake(clients, trino, BY_BOTH)
    log: list[Event] = []
    late: list[Event] = []
    widened: set[str] = set()
    for phase in range(5):
        new = growing_log(order, lake, phase, 15 * phase + 1, 15)
        held_back = order.sample(new, 3 if phase < 4 else 0)
        come = [*late, *(e for e in new if e not in held_back)]
        lake.put([*come, *order.sample(log, min(len(log), 5))])  # some come twice
        lake.convert()
        log, late = [*log, *come], held_back
        widened |= night(lake).widened.columns.keys()

        assert changes_of(lake, lake.changes()) == written(log)
        for projection in (lake.names.parquet_table, lake.names.orc_table):
            rows = trino(f"SELECT * FROM {lake.name(projection)}")
            assert changes_of(lake, rows) == written(log), projection
        check(lake)
        if order.random() < 0.5:
            lake.fold(order.choice(log).time)
            check(lake)
    assert widened >= {"n", "s", "l", "Odd Name", "userId"}
    nothing = night(lake)
    assert (nothing.days, nothing.widened.columns, nothing.views) == ((), {}, ())
    table = f"{lake.names.lake.database}.{lake.names.changes_table}"
    for engine in ENGINES:
        actual, expected = changes_of(lake, read_table(engine, table)), written(log)
        if engine == "pyiceberg":  # it reads a null list or map of structs as an empty one
            actual, expected = without_empty(actual), without_empty(expected)
        assert actual == expected, engine


def test_closed_days_are_pruned_to_their_partition(clients: Clients, trino: Trino) -> None:
    lake = ViewLake(clients, trino, BY_ID)
    for day in range(3):
        lake.put([Event(10 * day + n, lake.start + day * DAY_MS, "INSERT", {"id": f"{n}"}) for n in range(5)])
    lake.convert()
    night(lake)
    second = lake.day(lake.start + DAY_MS)

    for name in (lake.names.changes_table, lake.names.parquet_table, lake.names.orc_table):
        answer = trino.ask(f"SELECT id FROM {lake.name(name)} WHERE dt = '{second}'")
        assert (len(answer.rows), answer.input_rows) == (5, 5), name


def test_raw_lines_are_read_as_text_before_and_after_a_compaction(clients: Clients, trino: Trino) -> None:
    lake = ViewLake(clients, trino, BY_ID)
    item = {"id": "1", "userId": Decimal("1.50"), "m": {"B": [1, None], "a": "x"}, "flag": True}
    lake.put([Event(1, lake.start, "INSERT", item)])
    lake.convert()
    night(lake)
    lake.put([Event(2, lake.start, "MODIFY", {"id": "1", "later": 5})], lake.day(lake.start))

    userid = lake.column("userId")
    rows = trino(f'SELECT id, "{userid}" AS u, m, flag, dt FROM {lake.name(lake.names.json_table)} ORDER BY 2')
    assert [(r["id"], r["u"], r["m"], r["flag"]) for r in rows] == [
        ("1", "1.50", '{"B":[1,null],"a":"x"}', "true"),
        ("1", None, None, None),
    ]
    lake.convert()
    night(lake)
    rows = trino(f"SELECT later FROM {lake.name(lake.names.json_table)} WHERE later IS NOT NULL")
    assert rows == [{"later": "5"}]


def test_readers_see_no_error_and_no_partial_change_while_types_widen(clients: Clients, trino: Trino) -> None:
    """A reader queries before and after each call that changes anything in Glue."""
    lake = ViewLake(clients, trino, BY_ID)
    lake.put([Event(n, lake.start + n, "INSERT", {"id": f"{n}", "n": n, "m": {"k": n}}) for n in range(1, 6)])
    lake.convert()
    lake.fold(lake.start + 3)
    values: dict[str, Any] = {"6": Decimal("1.5"), "7": "text", "8": [Decimal(2**70), {"a": None}]}
    lake.put([Event(int(i), lake.start + int(i), "INSERT", {"id": i, "n": v}) for i, v in values.items()])
    lake.convert()
    expected = {**{f"{n}": as_text(Decimal(n)) for n in range(1, 6)}, **{i: as_text(v) for i, v in values.items()}}
    kinds: list[str] = []

    def ask(**_: Any) -> None:
        changes, current = lake.name(lake.names.changes_table), lake.name(lake.names.current_view)
        for table in (changes, current):
            rows = trino(f"SELECT id, typeof(n) AS t, n, element_at(__other, 'n') AS other FROM {table}")
            rows_by_id = {row["id"]: row for row in rows}
            assert len(rows) == len(rows_by_id) == len(expected)
            (kind,) = {str(row["t"]) for row in rows}
            in_column = [row["n"] is not None for row in rows]
            # `bigint` holds five of them; JSON text holds all.
            assert (kind, sum(in_column)) in {("bigint", 5), ("varchar", 8)}, table
            for key, row in rows_by_id.items():
                value = row["other"] if row["n"] is None else str(row["n"])
                assert as_text(parse_json(value)) == expected[key], (table, row)
        kinds.append(kind)
        assert len(lake.removed()) == 0
        assert len(lake.history()) == len(expected)

    registered = [(c, f"{when}.glue.UpdateTable") for c in (clients.glue, clients.glue_once) for when in WHEN]
    for client, event in registered:
        client.meta.events.register(event, ask, unique_id=f"ask {event}")
    try:
        result = night(lake)
    finally:
        for client, event in registered:
            client.meta.events.unregister(event, unique_id=f"ask {event}")

    assert result.widened.columns == {"n": ("bigint", "string")}
    ask()
    assert len(kinds) > 20
    assert {*kinds} == {"bigint", "varchar"}
    check(lake)


WHEN = ("before-call", "after-call")


def test_the_night_respects_deletes_and_optimizes_by_trino(clients: Clients, trino: Trino) -> None:
    lake = ViewLake(clients, trino, BY_ID)
    events = [Event(n, lake.start + n, "INSERT", {"id": f"{n}", "n": n}) for n in range(1, 9)]
    lake.put(events[:4])
    lake.convert()
    lake.put(events[4:])
    lake.convert()
    night(lake)
    changes, parquet = lake.name(lake.names.changes_table), lake.name(lake.names.parquet_table)

    trino(f"DELETE FROM {changes} WHERE id IN ('2', '7')")
    remaining = [e for e in events if e.item["id"] not in ("2", "7")]
    assert count_deleted(lake.table.changes())
    assert changes_of(lake, lake.changes()) == written(remaining)
    result = night(lake)
    assert [d.rows for d in result.days] == [6]
    assert changes_of(lake, lake.changes()) == changes_of(lake, trino(f"SELECT * FROM {parquet}")) == written(remaining)
    assert night(lake).days == ()

    late = [Event(20, lake.start + 1, "MODIFY", {"id": "9", "n": 9})]
    lake.put(late)
    lake.convert()
    trino(f"ALTER TABLE {changes} EXECUTE optimize")
    head = lake.table.changes()
    assert {f.folder for f in head.files() if f.rows} == {""}
    assert changes_of(lake, lake.changes()) == written([*remaining, *late])
    word = order_of(schema_of(head)).word
    assert plan_compaction(head.files(), lake.now + timedelta(hours=1), lake.names.lake.zone, OPTIONS, word)
    night(lake)
    assert changes_of(lake, lake.changes()) == changes_of(lake, trino(f"SELECT * FROM {parquet}"))
    assert changes_of(lake, lake.changes()) == written([*remaining, *late])
