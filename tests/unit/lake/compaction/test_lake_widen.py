"""Types widen in one commit per table, while readers of the views continue to see the same rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from pyiceberg.types import NestedField, StringType

from dynalake.errors import ConflictError, SettingsError
from dynalake.lake.catalog.commit import check_fields, commit_on
from dynalake.lake.catalog.iceberg import Change
from dynalake.lake.catalog.table import SCHEMA, Table
from dynalake.lake.columns.pins import Pins
from dynalake.lake.columns.schema import TableSchema
from dynalake.lake.compaction import widen
from dynalake.lake.compaction.compact_options import CompactOptions
from dynalake.lake.compaction.day import compact_day, is_compacted, order_of
from dynalake.lake.compaction.retyped_table import RetypedTable
from dynalake.lake.compaction.widen import Widened, finish_widening, held_for, widen_table
from dynalake.lake.compaction.widen_plan import Contents, plan_widening
from dynalake.lake.current.view_entries import write_views
from dynalake.lake.files.folders import read_manifests
from dynalake.lake.tables.grow import pin_columns, schema_of
from dynalake.lake.types.union import Number, observe, type_to_json
from tests.support.kills import Act, Killed, calls_of, disturbed, is_change, kill, meets_others
from tests.support.memory.checks import check_lake, check_views
from tests.support.memory.receipts import BY_ID, DAY_1, DAY_2, Receipts
from tests.unit.lake.small_lake import SmallLake

pytestmark = pytest.mark.slow

OPTIONS = CompactOptions()


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynalake.lake.catalog.commit.time.sleep", lambda _: None)


def prepared() -> Receipts:
    """Make a compacted day of integers, a day with 1.5 and a map that does not fit, a state of both, and the views."""
    lake = Receipts()
    lake.append(DAY_1, {"id": "a", "n": 1, "m": {"x": 1}}, {"id": "b", "n": 2})
    compact_day(lake.table, DAY_1, OPTIONS, lake.now)
    lake.append(DAY_2, {"id": "a", "n": Decimal("1.5"), "t": "x"}, {"id": "c", "m": {"x": "text"}})
    lake.put_items({"id": "a", "n": Decimal("1.5"), "t": "x"}, {"id": "b", "n": 2}, {"id": "c", "m": {"x": "text"}})
    write_views(lake.table)
    return lake


@pytest.fixture
def lake() -> Receipts:
    return prepared()


def run(lake: Receipts, options: CompactOptions = OPTIONS) -> Widened:
    return widen_table(lake.table, options, lake.now)


def types(lake: Receipts) -> list[dict[str, str]]:
    """Return the types of both tables' columns."""
    heads = (lake.table.changes(), lake.table.items())
    return [{c.attribute: c.glue_type for c in schema_of(head).columns} for head in heads]


def test_waiting_values_move_into_their_column_and_every_value_is_exact(lake: Receipts) -> None:
    items, named = lake.items(), lake.named()
    assert types(lake)[0] == {"id": "string", "m": "struct<x:bigint>", "n": "bigint", "t": "string"}

    done = run(lake)

    assert done.columns == {"n": ("bigint", "double"), "m": ("struct<x:bigint>", "struct<x:string>")}
    assert done.lifted == {"n": 1, "m": 1}
    assert done.spilled == done.left == {}
    assert types(lake)[0] == types(lake)[1] == {"id": "string", "m": "struct<x:string>", "n": "double", "t": "string"}
    check_lake(lake, items, named, "")
    assert not check_views(lake)
    for head in (lake.table.changes(), lake.table.items()):
        assert head.tags == {}
        assert widen.HELD_SINCE not in head.properties
        assert {f.iceberg.column_sizes.keys() <= head.schema.field_ids for f in head.files()} == {True}
    manifests = read_manifests(Table(lake.table.clients, lake.names), {f.folder for f in lake.table.changes().files()})
    assert [m.misfits for m in manifests.values() if m is not None] == [{}, {}]
    assert run(lake) == Widened()


def test_a_sorted_day_stays_sorted(lake: Receipts) -> None:
    run(lake)

    (file,) = lake.table.changes().files({DAY_1})
    assert is_compacted([file], order_of(schema_of(lake.table.changes())).word)
    assert compact_day(lake.table, DAY_1, OPTIONS, lake.now).replaced == 0


def test_files_without_the_column_are_left_alone(lake: Receipts) -> None:
    lake.append("20240101", {"id": "z", "t": "only"})
    (before,) = lake.table.changes().files({"20240101"})

    run(lake)

    assert [f.path for f in lake.table.changes().files({"20240101"})] == [before.path]


def test_columns_added_after_their_values(lake: Receipts) -> None:
    """`[]` has no type, so it waits; once a column exists, it needs no type change and no held views."""
    lake = Receipts()
    lake.append(DAY_1, {"id": "a", "l": []}, {"id": "b", "l": [[]]})
    lake.put_items({"id": "a", "l": []})
    write_views(lake.table)
    lake.append(DAY_2, {"id": "a", "l": [["x"]]})
    items = lake.items()

    done = run(lake)

    assert (done.columns, done.lifted) == ({}, {"l": 2})
    check_lake(lake, items, set(), "")
    assert all(not row for head in (lake.table.changes(), lake.table.items()) for row in others(head))
    assert run(lake) == Widened()


def others(head: Any) -> list[Any]:
    return [o for o in head.iceberg.scan(selected_fields=("__other",)).to_arrow()["__other"].to_pylist() if o]


def test_pins_of_a_user_change_columns_too(lake: Receipts) -> None:
    items, named = lake.items(), lake.named()
    pins = Pins(never=("t",), types={"n": "json"}, names={"m": "meta"})
    assert pin_columns(lake.table, pins)
    assert not pin_columns(lake.table, pins)
    with pytest.raises(SettingsError, match="'n'"):
        pin_columns(lake.table, Pins(names={"t": "n"}))

    assert run(lake).columns == {"t": ("string", ""), "n": ("bigint", "string"), "m": ("struct<x:bigint>",) * 2}
    check_lake(lake, items, named, "")
    # A renamed column gets another type on the next night.
    assert run(lake).columns == {"m": ("struct<x:bigint>", "struct<x:string>")}

    assert types(lake)[0] == {"id": "string", "m": "struct<x:string>", "n": "string"}
    assert "meta" in lake.table.changes().schema.column_names
    check_lake(lake, items, named, "")
    assert run(lake) == Widened()


def test_the_whole_state_is_rewritten_when_a_numeric_key_changes_its_type() -> None:
    from dynalake.record.key import ItemKey, KeyAttribute

    lake = Receipts(ItemKey(KeyAttribute("id", "N")))
    lake.append(DAY_1, {"id": 1}, {"id": 2, "v": "x"})
    lake.append(DAY_2, {"id": Decimal("1.5")})
    lake.put_items({"id": 1})
    lake.put_items({"id": Decimal("1.5")})
    write_views(lake.table)
    items = lake.items()

    assert run(lake).columns == {"id": ("bigint", "double")}

    check_lake(lake, items, set(), "")
    assert types(lake)[1]["id"] == "double"


def test_a_limited_number_of_bytes_is_rewritten(lake: Receipts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(widen, "GB", 1)

    done = run(lake, CompactOptions(widen_budget_gb=1))

    assert done.columns == {}
    assert done.left.keys() == {"m", "n"}
    assert lake.rows() == lake.committed


def test_after_three_changes_a_column_is_text(lake: Receipts) -> None:
    head = lake.table.changes()
    schema = schema_of(head)
    often = replace(schema, columns=tuple(replace(c, widened=3) if c.name == "n" else c for c in schema.columns))
    lake.table.catalog.commit(head, Change(properties={SCHEMA: often.to_json()}))
    items, named = lake.items(), lake.named()

    assert run(lake).columns["n"] == ("bigint", "string")
    check_lake(lake, items, named, "")
    lake.append(DAY_1, {"id": "a", "n": {"anything": True}})
    assert run(lake) == Widened()
    assert lake.rows() == lake.committed


# -- the plan ----------------------------------------------------------------------------------------------------------


def plan(misfits: dict[str, tuple[Any, int]], sizes: dict[str, dict[str, int]], budget: int) -> Any:
    before = TableSchema.of_new_table(BY_ID).admit({a: observe(1) for a in ("few", "many", "other")})
    recorded = {a: {"type": type_to_json(observe(v)), "count": n} for a, (v, n) in misfits.items()}
    return plan_widening(before, recorded, {}, lambda a: sizes.get(a, {}), budget)


def test_columns_with_most_waiting_values_come_first_and_shared_files_cost_once() -> None:
    misfits: dict[str, tuple[Any, int]] = {"few": ("x", 1), "many": ("x", 9), "unknown": ("x", 100)}
    sizes = {"few": {"a": 5, "b": 5}, "many": {"a": 5, "c": 10}}

    both = plan(misfits, sizes, 20)
    assert set(both.changed) == {"few", "many"}
    assert (both.size, both.left, both.lifts) == (20, {}, {"few", "many"})
    assert "unknown" not in both.after.known

    smaller = plan(misfits, sizes, 19)
    assert (smaller.changed, smaller.size, smaller.left, smaller.lifts) == (("many",), 15, {"few": 5}, {"many"})


def test_values_that_fit_already_are_only_moved() -> None:
    widening = plan({"few": (2, 1)}, {"few": {"a": 5}}, 5)

    assert (widening.changed, widening.lifts, widening.size) == ((), {"few"}, 5)
    assert plan({"few": (2, 1)}, {"few": {"a": 5}}, 4).lifts == frozenset()


def test_numbers_are_bounded_by_the_values_in_files(lake: Receipts) -> None:
    lake.append(DAY_2, {"id": "d", "n": -(10**14), "p": Decimal("12345678901234567.25")})
    lake.put_items({"id": "d", "n": 10**15})
    changes, state = lake.table.changes(), lake.table.items()

    numbers = Contents(lake.table, changes, state).numbers

    assert numbers == {"n": Number(16, 0, 16, True), "p": Number(17, 9, 26, False)}


# -- faults and others -------------------------------------------------------------------------------------------------


def sweep(act: Act, chosen: Callable[[str], bool] = is_change, *, every: int = 1, exact_items: bool = True) -> None:
    """Widen with an event before one of the chosen calls; then widen again, undisturbed."""
    first = prepared()
    items, named = first.items(), first.named()
    for lake, number, _ in disturbed(first, run, act, chosen, above=5, every=every):
        now = items if exact_items else lake.items()
        check_lake(lake, now, named, number)
        lake = lake.copy()
        run(lake)
        check_lake(lake, now, named, number)
        assert not check_views(lake)
        assert lake.table.changes().tags == lake.table.items().tags == {}
        assert types(lake)[0]["n"] != "bigint"
        assert types(lake)[0] == types(lake)[1]


def test_killed_anywhere() -> None:
    sweep(lambda lake: kill)


def test_lost_answers() -> None:
    sweep(lambda lake: lake.lose)


def test_late_calls() -> None:
    sweep(lambda lake: lake.delay)


def test_conversions_between_calls() -> None:
    """With values that the old type does not hold, that the new one does not hold, and new attributes."""

    def act(lake: Receipts) -> Any:
        return lambda *_: lake.append(DAY_1, {"id": "z", "n": 2**62, "new": 1}, {"id": "y", "n": Decimal("2.5")})

    sweep(act, meets_others, every=4)


def test_folds_and_compactions_between_calls() -> None:
    def act(lake: Receipts) -> Any:
        def both(*_: Any) -> None:
            compact_day(lake.table, DAY_2, OPTIONS, lake.now)
            lake.put_items({"id": "q", "n": Decimal("7.5"), "fresh": {"a": 1}})

        return both

    sweep(act, meets_others, every=4, exact_items=False)


def test_another_widening_between_calls() -> None:
    sweep(lambda lake: lambda *_: run(lake), meets_others, every=4)


def test_views_are_held_while_the_tables_change(lake: Receipts) -> None:
    """At each update of Glue a reader of the views sees one state of both tables."""
    readings = []
    update = lake.glue.update

    def watched(request: dict[str, Any]) -> Any:
        answer = update(request)
        readings.append((request["TableInput"]["Name"], check_views(lake), types(lake)[0] == types(lake)[1]))
        return answer

    lake.glue.update = watched  # type: ignore[method-assign]
    run(lake)

    assert (lake.names.changes_table, True, False) in readings
    assert all(held for _, held, same in readings if not same)
    assert readings[-1][1:] == (False, True)


def test_views_held_for_a_day_are_a_finding(lake: Receipts) -> None:
    assert held_for(lake.table.changes(), lake.clock.moment) is None
    with lake.at_call(10**9, kill), pytest.MonkeyPatch.context() as patch:
        patch.setattr(widen._Widening, "_commit", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            run(lake)
    assert check_views(lake)
    lake.clock.move(days=2)

    assert held_for(lake.table.changes(), lake.clock.moment) == timedelta(days=2) > widen.HELD_TOO_LONG
    begun = lake.table.changes()
    finished = finish_widening(lake.table, begun, OPTIONS, lake.now)
    assert finished is not begun
    assert finish_widening(lake.table, finished, OPTIONS, lake.now) is finished
    assert held_for(lake.table.changes(), lake.clock.moment) is None
    assert not check_views(lake)


# -- each rule, switched off -------------------------------------------------------------------------------------------


def test_a_conversion_planned_before_the_widening_is_refused(lake: Receipts) -> None:
    """Without the check of fields its values would be in no column."""
    planned = lake.table.changes()
    records = lake.records({"id": "z", "n": 5})
    _, files, schema = lake.write(DAY_2, records, "stale")
    run(lake)

    def build(head: Any, news: Any) -> Change:
        check_fields(schema, head)
        return Change(files)

    with pytest.raises(ConflictError, match=r"The type of n in the table .* has changed"):
        commit_on(lake.table.catalog, lake.names, planned, build)
    commit_on(lake.table.catalog, lake.names, planned, lambda head, news: Change(files))

    assert lake.rows().total() == lake.committed.total() + 1
    assert not any("'z'" in row and "'n'" in row for row in lake.rows())


def test_a_new_column_takes_the_ids_if_they_are_not_reserved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(widen, "Change", lambda **kwargs: Change(**{**kwargs, "reserve": None}))
    lake = prepared()
    started = False

    prepare = RetypedTable.prepare

    def grow_first(self: RetypedTable, head: Any) -> None:
        nonlocal started
        if not started:
            started = True
            lake.append(DAY_2, {"id": "z", "new": 7, "newer": 8})
        prepare(self, head)

    monkeypatch.setattr(RetypedTable, "prepare", grow_first)
    try:
        run(lake)
        right = lake.rows() == lake.committed
    except Exception:
        right = False
    assert not right


def test_values_are_lost_without_files_added_since(monkeypatch: pytest.MonkeyPatch) -> None:
    lake = prepared()
    units = RetypedTable.units
    first: dict[int, Any] = {}
    monkeypatch.setattr(RetypedTable, "units", lambda self, head: first.setdefault(id(self), units(self, head)))
    hold = widen._Widening._hold
    monkeypatch.setattr(widen._Widening, "_hold", lambda self: (hold(self), lake.append(DAY_2, {"id": "z", "n": 8}))[0])

    run(lake)

    assert lake.rows() != lake.committed


@pytest.mark.parametrize(
    ("rule", "without"),
    [
        ("_hold", lambda self: 0),
        ("_check_held", lambda self, head, held: None),
    ],
)
def test_readers_get_an_error_without_held_views(
    rule: str, without: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(widen._Widening, rule, without)
    if rule == "_hold":
        monkeypatch.setattr(widen._Widening, "_check_held", lambda *_: None)
    first = prepared()
    wrong = 0
    for number, call in enumerate(calls_of(first, run), 1):
        if not call.endswith("update_table"):
            continue
        lake = first.copy()

        def other_run_then_kill(call: str, request: dict[str, Any], lake: Receipts = lake) -> None:
            """Another run releases the views; the running one continues, and ends soon after."""
            finish_widening(lake.table, lake.table.changes(), OPTIONS, lake.now)
            lake.s3.on_call = lake.glue.on_call = lambda *_: None

        update, count = lake.glue.update, [0]

        def watched(request: dict[str, Any], lake: Receipts = lake, update: Any = update) -> Any:
            nonlocal wrong
            answer = update(request)
            try:
                check_views(lake)
            except AssertionError:
                wrong += 1
            return answer

        lake.glue.update = watched  # type: ignore[method-assign]
        with lake.at_call(number, other_run_then_kill):
            try:
                run(lake)
            except (ConflictError, AssertionError):
                pass
        del count
    assert wrong


def test_a_snapshot_that_views_still_read_might_expire_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless(**kwargs: Any) -> Change:
        change = Change(**kwargs)
        return replace(change, tag={}) if widen.RELEASED in change.tag else change

    monkeypatch.setattr(widen, "Change", nameless)
    lake = prepared()
    monkeypatch.setattr(widen, "write_views", lambda table: (check_views(lake), write_views(table))[1])
    with pytest.raises(AssertionError):
        run(lake)


def test_a_name_keeps_a_snapshot(small_lake: SmallLake) -> None:
    small_lake.create()
    head = small_lake.catalog.commit(small_lake.load(), Change(add=(small_lake.file("20240101", [{"id": "a"}]),)))
    schema = type(head.schema)(*head.schema.fields, NestedField(9, "more", StringType()), schema_id=1)

    assert head.snapshot_id is not None
    tagged = small_lake.catalog.commit(head, Change(tag={"kept": head.snapshot_id}, schema=schema))
    assert tagged.tags == {"kept": head.snapshot_id}
    assert small_lake.load().tags == tagged.tags
    assert tagged.schema_at(head.snapshot_id) == head.schema != tagged.schema

    freed = small_lake.catalog.commit(tagged, Change(untag=("kept", "never there")))
    assert freed.tags == {}
    assert [row["id"] for row in small_lake.rows()] == ["a"]


def test_reserved_ids_are_given_to_no_other_column(small_lake: SmallLake) -> None:
    head = small_lake.create()
    reserved = type(head.schema)(*head.schema.fields, NestedField(41, "n2", StringType()))

    landed = small_lake.catalog.commit(head, Change(reserve=reserved))

    assert landed.last_column_id == 41
    assert landed.schema == head.schema
    assert landed.snapshot_id != head.snapshot_id
    assert [s.schema_id for s in landed.iceberg.metadata.schemas] == [head.schema_id]
    grown = type(head.schema)(*head.schema.fields, NestedField(landed.last_column_id + 1, "n3", StringType()))
    assert small_lake.catalog.commit(landed, Change(schema=grown)).schema.find_field("n3").field_id == 42
