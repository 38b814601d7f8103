"""The views' Glue entries: compared by every run, written only if they differ, never over another change."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from dynalake.errors import ConflictError, NameTakenError
from dynalake.lake.catalog.clock import now_ms
from dynalake.lake.catalog.iceberg import Change
from dynalake.lake.catalog.table import FOLDED_TO, SCHEMA, schema_of
from dynalake.lake.columns.iceberg_schema import iceberg_schema
from dynalake.lake.current.fold import fold, raise_bound
from dynalake.lake.current.view_entries import HELD_UNTIL, HOLD, PIN, hold_views, views_bound, write_views
from dynalake.lake.current.views import attribute_columns, glue_type
from dynalake.lake.tables.grow import grow_schema
from dynalake.lake.types.union import TEXT, Field, Number, Struct
from tests.support.kills import killed_anywhere
from tests.support.memory.state_lake import START, Event, StateLake

pytestmark = pytest.mark.slow

WHOLE = Number(1, 0, 1, True)


@pytest.fixture
def lake() -> StateLake:
    return StateLake().make()


def entry(lake: StateLake, view: str = "current_view") -> dict[str, Any]:
    return lake.glue.tables[getattr(lake.names, view)]


def versions(lake: StateLake) -> dict[str, str]:
    return {name: str(table["VersionId"]) for name, table in lake.glue.tables.items()}


def struct(*fields: str) -> Struct:
    return Struct(tuple(Field(f, f, WHOLE) for f in fields))


def test_an_entry_has_the_form_that_athena_writes(lake: StateLake) -> None:
    view = entry(lake)

    assert (view["TableType"], view["Owner"], view["ViewExpandedText"]) == (
        "VIRTUAL_VIEW",
        "hadoop",
        "/* Presto View */",
    )
    assert view["Parameters"] == {
        "presto_view": "true",
        "comment": "Presto View",
        "dynalake.table": "RECEIPTS",
        FOLDED_TO: "0",
    }
    assert view["PartitionKeys"] == []
    assert view["StorageDescriptor"]["Columns"] == [
        {"Name": "id", "Type": "string"},
        {"Name": "value", "Type": "string"},
        {"Name": "__other", "Type": "map<string,string>"},
        {"Name": "__types", "Type": "string"},
        {"Name": "__event_time", "Type": "bigint"},
        {"Name": "__sequence_number", "Type": "string"},
    ]
    text = view["ViewOriginalText"]
    assert text.startswith("/* Presto View: ")
    definition = json.loads(base64.b64decode(text.removeprefix("/* Presto View: ").removesuffix(" */")))
    assert (definition["catalog"], definition["schema"]) == ("awsdatacatalog", "dynalake_dev")
    assert definition["columns"][2] == {"name": "__other", "type": "map(varchar, varchar)"}


def test_views_are_written_only_if_they_differ(lake: StateLake) -> None:
    before = versions(lake)

    assert write_views(lake.table) == ()
    assert versions(lake) == before

    entry(lake, "removed_view")["ViewOriginalText"] = "/* Presto View: damaged */"
    del lake.glue.tables[lake.names.history_view]
    assert write_views(lake.table) == ("receipts_removed", "receipts_history")
    assert write_views(lake.table) == ()
    assert lake.removed() == set()


def test_manual_changes_are_kept(lake: StateLake) -> None:
    view = entry(lake)
    view |= {"Description": "All receipts", "Owner": "ana", "Retention": 3}
    view["Parameters"]["team"] = "billing"
    view["StorageDescriptor"]["Columns"][0]["Comment"] = "the key"
    assert write_views(lake.table) == ()

    lake.append(Event("a", 1, START))
    fold(lake.table, START)

    view = entry(lake)
    assert view["Parameters"][FOLDED_TO] == str(START)
    assert (view["Description"], view["Owner"], view["Retention"]) == ("All receipts", "ana", 3)
    assert view["Parameters"]["team"] == "billing"
    assert view["StorageDescriptor"]["Columns"][0] == {"Name": "id", "Type": "string", "Comment": "the key"}


def test_a_view_without_an_owner_gets_one(lake: StateLake) -> None:
    """Otherwise Trino does not read it."""
    entry(lake)["Owner"] = ""

    assert write_views(lake.table) == ("receipts_current",)
    assert entry(lake)["Owner"] == "hadoop"


def test_an_entry_of_somebody_else_is_not_overwritten(lake: StateLake) -> None:
    entry(lake, "history_view")["Parameters"] = {"presto_view": "true"}

    with pytest.raises(NameTakenError, match=r"dynalake_dev\.receipts_history, which belongs to something"):
        write_views(lake.table)


def test_the_bound_is_that_of_the_state_and_never_the_marker(lake: StateLake) -> None:
    lake.append(Event("a", 1, START))
    raise_bound(lake.table, START)

    write_views(lake.table)

    assert views_bound(lake.table) == 0
    assert lake.current() == {"a": "MODIFY 1"}
    fold(lake.table, START)
    assert views_bound(lake.table) == START


def before_the_first(call: str, lake: StateLake, act: Callable[[], object]) -> None:
    """Act once, before the first of these calls."""

    def on_call(service: str, of: str, request: dict[str, Any]) -> None:
        if of == call:
            lake.glue.on_call = lambda *_: None
            act()

    lake.glue.on_call = on_call


def test_a_decision_made_before_another_fold_does_not_overwrite_it(lake: StateLake) -> None:
    lake.append(Event("a", 1, START), Event("b", 2, START + 1))
    fold(lake.table, START)
    entry(lake)["ViewOriginalText"] = "/* Presto View: damaged */"
    before_the_first("update_table", lake, lambda: fold(lake.table, START + 1))

    write_views(lake.table)

    assert views_bound(lake.table) == START + 1
    assert str(START + 1) in lake.text("current_view")


def test_a_view_that_others_create_or_drop_at_the_same_time(lake: StateLake) -> None:
    del lake.glue.tables[lake.names.current_view]
    before_the_first("create_table", lake, lambda: write_views(lake.table))
    write_views(lake.table)
    assert lake.current() == {}

    entry(lake)["ViewOriginalText"] = "/* Presto View: damaged */"
    before_the_first("update_table", lake, lambda: lake.glue.tables.pop(lake.names.current_view))
    write_views(lake.table)
    assert lake.current() == {}


def test_an_error_says_that_others_were_always_first(lake: StateLake) -> None:
    entry(lake)["ViewOriginalText"] = "/* Presto View: damaged */"

    def on_call(service: str, call: str, request: dict[str, Any]) -> None:
        if call == "update_table":
            entry(lake)["VersionId"] = str(int(entry(lake)["VersionId"]) + 1)

    lake.glue.on_call = on_call
    with pytest.raises(ConflictError, match="changed by others 10 times"):
        write_views(lake.table)


def test_views_get_new_columns_before_any_row(lake: StateLake) -> None:
    grow_schema(lake.table, lake.table.changes(), {"n": WHOLE})

    assert write_views(lake.table) == ()
    assert '"n"' in lake.text("current_view")
    assert schema_of(lake.table.items()).column("n") is not None
    assert '"n"' in lake.text("removed_view")


def test_somebody_elses_columns_are_not_shown(lake: StateLake) -> None:
    for head in (lake.table.changes(), lake.table.items()):
        fields = (*head.schema.fields, type(head.schema.fields[0])(900, "extra", head.schema.fields[0].field_type))
        lake.table.catalog.commit(head, Change(schema=type(head.schema)(*fields, schema_id=head.schema_id + 1)))

    assert write_views(lake.table) == ()


def test_types_that_differ_stop_the_views_from_being_written(lake: StateLake) -> None:
    """The changes have widened, the state has not, and no run holds the views."""
    grow_schema(lake.table, lake.table.changes(), {"n": WHOLE})
    write_views(lake.table)
    before = lake.text("current_view")
    head = lake.table.changes()
    wide = schema_of(head).widen_for({"n": TEXT})
    wider = iceberg_schema(wide, head.schema, head.last_column_id, before=schema_of(head))
    lake.commit(Change(schema=wider, properties={SCHEMA: wide.to_json()}))

    with pytest.raises(ConflictError, match="The column n is varchar in receipts and bigint in receipts_state"):
        write_views(lake.table)
    assert lake.text("current_view") == before


# -- while the tables change ---------------------------------------------------------------------------------------


def pin(lake: StateLake) -> tuple[int, int]:
    """Pin as a widening does: the changes first."""
    changes = lake.table.changes()
    assert changes.snapshot_id is not None
    lake.table.catalog.commit(changes, Change(tag={PIN: changes.snapshot_id}))
    write_views(lake.table)
    assert "FOR VERSION" not in lake.text("current_view")
    state = lake.table.items()
    assert state.snapshot_id is not None
    lake.table.catalog.commit(state, Change(tag={PIN: state.snapshot_id}))
    return changes.snapshot_id, state.snapshot_id


def test_pinned_tables_are_read_as_of_their_pins_with_the_bound_of_that_time(lake: StateLake) -> None:
    lake.append(Event("a", 1, START), Event("b", 2, START + 1))
    fold(lake.table, START)
    changes, state = pin(lake)

    write_views(lake.table)
    text = lake.text("current_view")
    assert f"FOR VERSION AS OF {changes}" in text
    assert f"FOR VERSION AS OF {state}" in text

    fold(lake.table, START + 1)
    write_views(lake.table)
    assert lake.text("current_view") == text  # the pinned state does not have that fold
    assert views_bound(lake.table) == START

    for head in (lake.table.changes(), lake.table.items()):
        lake.table.catalog.commit(head, Change(untag=(PIN,)))
    write_views(lake.table)
    assert views_bound(lake.table) == START + 1
    assert lake.current() == {"a": "MODIFY 1", "b": "MODIFY 2"}


def test_held_views_read_both_tables_unchanged_until_their_columns_change(lake: StateLake) -> None:
    grow_schema(lake.table, lake.table.changes(), {"s": struct("x")})
    write_views(lake.table)
    lake.append(Event("a", 1, START))
    fold(lake.table, START)
    changes, state = lake.table.changes(), lake.table.items()

    assert hold_views(lake.table, lake.now)
    text = lake.text("current_view")
    assert f"FOR VERSION AS OF {changes.snapshot_id} " in text
    assert f"FOR VERSION AS OF {state.snapshot_id} " in text

    lake.append(Event("b", 2, START + 1))
    assert write_views(lake.table, lake.now) == ()
    assert hold_views(lake.table, lake.now)
    assert lake.text("current_view") == text

    grow_schema(lake.table, lake.table.changes(), {"s": struct("x", "y")})
    write_views(lake.table, lake.now)
    assert "FOR VERSION" not in lake.text("current_view")
    assert HELD_UNTIL not in entry(lake)["Parameters"]
    assert lake.current() == {"a": "MODIFY 1", "b": "MODIFY 2"}


def test_views_held_by_a_dead_run_are_released(lake: StateLake) -> None:
    hold_views(lake.table, lake.now)

    assert write_views(lake.table, lambda: lake.now() + HOLD - 1) == ()
    assert len(write_views(lake.table, lambda: lake.now() + HOLD)) == 3
    assert "FOR VERSION" not in lake.text("current_view")


def test_nothing_is_held_without_views() -> None:
    lake = StateLake().make()
    del lake.glue.tables[lake.names.current_view]

    assert not hold_views(lake.table)
    grow_schema(lake.table, lake.table.changes(), {"s": struct("x")})
    grow_schema(lake.table, lake.table.changes(), {"s": struct("x", "y")})
    assert lake.names.current_view not in lake.glue.tables


def readable(lake: StateLake, view: str) -> bool:
    """Return whether Trino accepts the view: its column types equal those in the snapshots that it reads."""
    text = lake.text(view)
    stored = {c["Name"]: c["Type"] for c in entry(lake, view)["StorageDescriptor"]["Columns"]}
    for head in (lake.table.changes(), lake.table.items()):
        if f'"{head.name}"' not in text:
            continue
        as_of = re.findall(rf'"{head.name}" FOR VERSION AS OF (\d+)', text)
        schema = head.schema_at(int(as_of[0])) if as_of else head.schema
        types = {name: glue_type(t) for name, t in attribute_columns(schema)}
        if any(types.get(name, kind) != kind for name, kind in stored.items()):
            return False
    return True


def test_no_reader_sees_a_mismatched_view_while_a_struct_gets_a_field() -> None:
    before = StateLake().make()
    grow_schema(before.table, before.table.changes(), {"s": struct("x"), "value": TEXT})
    write_views(before.table)
    before.append(Event("a", 1, START), Event("b", 2, START + 1))
    fold(before.table, START)

    def all_readable(lake: StateLake) -> bool:
        return all(readable(lake, view) for view in ("current_view", "removed_view", "history_view"))

    def grow(lake: StateLake) -> None:
        grow_schema(lake.table, lake.table.changes(), {"s": struct("x", "y"), "n": WHOLE})

    undisturbed, seen = before.copy(), list[tuple[str, bool]]()

    def look(service: str, call: str, request: dict[str, Any]) -> None:
        undisturbed.glue.on_call = undisturbed.s3.on_call = lambda *_: None
        seen.append((call, all_readable(undisturbed)))
        undisturbed.glue.on_call = undisturbed.s3.on_call = look

    undisturbed.glue.on_call = undisturbed.s3.on_call = look
    grow(undisturbed)
    assert len(seen) > 20
    assert [call for call, well in seen if not well] == []

    for lake in killed_anywhere(before.copy, grow, above=5):
        assert all_readable(lake)
        write_views(lake.table, lambda: now_ms() + 2 * HOLD)
        assert lake.current() == {"a": "MODIFY 1", "b": "MODIFY 2"}
