"""Changes merged into the state: which win, what is rewritten, and what happens if others commit first."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyiceberg.expressions import EqualTo

from dynalake.errors import ConflictError, NotReadyError
from dynalake.lake.catalog.iceberg import Change, DataFile
from dynalake.lake.catalog.table import FOLDED_TO, SCHEMA, SNAPSHOT_RUN, number
from dynalake.lake.current import winners
from dynalake.lake.current.fold import fold, raise_bound
from dynalake.lake.current.key_ranges import KeyFile, Keys, Sizes, cut_tables, plan_rewrites
from dynalake.lake.current.state import Merge, Merged, merge_late
from dynalake.lake.files.parts import file_schema
from dynalake.lake.files.read import read_rows
from dynalake.lake.tables.grow import grow_schema, schema_of
from dynalake.lake.types.union import TEXT, Field, Number, Struct
from dynalake.record.key import ItemKey, KeyAttribute
from tests.support.memory.state_lake import START, Event, StateLake, replay

pytestmark = pytest.mark.slow

BY_TWO = ItemKey(KeyAttribute("pk", "S"), KeyAttribute("sk", "S"))
BY_NUMBER = ItemKey(KeyAttribute("n", "N"))

equal_to: Any = EqualTo  # pyiceberg's has other types than it takes

ONE_ROW = Sizes(file=1, small=1, group=1)
"""Each item has a file, and each file is a group."""


@pytest.fixture
def lake() -> StateLake:
    return StateLake().make()


def merge(lake: StateLake, *events: Event, sizes: Sizes | None = None, **options: Any) -> Merged:
    """Merge changes that are in no file of the changes."""
    raise_bound(lake.table, max(e.time for e in events), pause=lambda s: None)
    head = lake.table.changes()
    options |= {} if sizes is None else {"sizes": sizes}
    return merge_late(lake.table, head, lake.table.items(), [lake.write("20240101", events, head)], **options)


def files(lake: StateLake, deleted: bool = False) -> list[DataFile]:
    return list(lake.table.items().files({deleted}))


def holding(lake: StateLake, key: tuple[str, ...]) -> list[DataFile]:
    """Return the files of existing items that a reader opens for a key according to their bounds."""
    identity = schema_of(lake.table.items()).identity
    return [f for f in files(lake) if KeyFile.of(f, identity).overlaps(key, key)]


# -- who wins ------------------------------------------------------------------------------------------------------


def test_the_highest_sequence_number_wins_whatever_the_order(lake: StateLake) -> None:
    events = [Event("a", 3, START + 3), Event("a", 1, START + 1), Event("b", 2, START + 2), Event("a", 2, START + 3)]

    merged = merge(lake, *events)

    assert lake.state() == {"a": "MODIFY 3", "b": "MODIFY 2"}
    assert (merged.rows, merged.won, merged.commits) == (4, 2, 1)


def test_changes_of_one_millisecond_are_ordered_by_their_numbers(lake: StateLake) -> None:
    merge(lake, *(Event("a", n, START) for n in (5, 9, 7)))

    assert lake.state() == {"a": "MODIFY 9"}


def test_a_late_older_image_changes_nothing(lake: StateLake) -> None:
    merge(lake, Event("a", 5, START + 5))
    before = lake.table.items().snapshot_id

    merged = merge(lake, Event("a", 4, START + 4))

    assert (merged.won, merged.commits) == (0, 0)
    assert lake.table.items().snapshot_id == before
    assert lake.state() == {"a": "MODIFY 5"}


def test_merging_again_commits_nothing(lake: StateLake) -> None:
    events = [Event("a", 1, START), Event("b", 2, START, "REMOVE")]
    merge(lake, *events)

    assert merge(lake, *events).commits == 0


def test_a_removed_item_keeps_its_row_and_comes_back_only_by_a_later_change(lake: StateLake) -> None:
    merge(lake, Event("a", 1, START, "INSERT"), Event("b", 1, START, "INSERT"))
    merge(lake, Event("a", 3, START + 3, "REMOVE"))
    assert lake.state() == {"a": "REMOVE 3", "b": "MODIFY 1".replace("MODIFY", "INSERT")}
    assert [f.partition for f in lake.table.items().files()].count(True) == 1

    merge(lake, Event("a", 2, START + 2))
    assert lake.state()["a"] == "REMOVE 3"

    merge(lake, Event("a", 4, START + 4, "INSERT"))
    assert lake.state()["a"] == "INSERT 4"
    assert files(lake, deleted=True) == []


def test_a_removed_item_keeps_the_image_that_the_stream_had(lake: StateLake) -> None:
    head = lake.grow()
    row = {**lake.row(Event("a", 2, START, "REMOVE")), "dt": "20240101", "value": "what it was", "__expired": True}
    schema = file_schema(head.schema)
    table = pa.Table.from_pylist([{n: row.get(n) for n in schema.names}], schema=schema)
    file = lake.put(table, f"{lake.names.change_folder('20240101', 'f')}part-0.parquet", "20240101", head)
    raise_bound(lake.table, START)

    merge_late(lake.table, lake.table.changes(), lake.table.items(), [file])

    (kept,) = lake.items()
    assert (kept["__deleted"], kept["value"], kept["__expired"]) == (True, "what it was", True)


def test_number_keys_are_compared_by_value() -> None:
    lake = StateLake(BY_NUMBER).make()
    merge(lake, Event(Decimal("1.0"), 1, START), Event(10, 2, START), Event(-2, 3, START), Event(9, 4, START))
    merge(lake, Event(Decimal("1"), 5, START + 1), Event(Decimal("1E+1"), 6, START + 1, "REMOVE"))

    assert {row["__key"]: row["__deleted"] for row in lake.items()} == {
        row["__key"]: row["n"] == 10 for row in lake.items()
    }
    assert sorted(int(row["__sequence_number"]) for row in lake.items()) == [3, 4, 5, 6]


def test_a_key_of_two_parts() -> None:
    lake = StateLake(BY_TWO).make()
    merge(lake, Event(("a", "b"), 1, START), Event(("ab", ""), 2, START), Event(("a", "c"), 3, START))
    merge(lake, Event(("a", "b"), 4, START), Event(("a", "c"), 2, START))

    assert lake.state() == {("a", "b"): "MODIFY 4", ("ab", ""): "MODIFY 2", ("a", "c"): "MODIFY 3"}


def test_nothing_is_late(lake: StateLake) -> None:
    lake.append(Event("a", 1, START))

    assert lake.items() == []
    head = lake.table.changes()
    assert (
        merge_late(lake.table, head, lake.table.items(), [lake.write("20240101", [Event("b", 2, START)], head)])
        == Merged()
    )


def test_only_changes_at_or_before_the_bound_are_late(lake: StateLake) -> None:
    raise_bound(lake.table, START)
    head = lake.table.changes()

    merge_late(
        lake.table,
        head,
        lake.table.items(),
        [lake.write("20240101", [Event("a", 1, START), Event("b", 2, START + 1)], head)],
    )

    assert lake.state() == {"a": "MODIFY 1"}


def test_a_bound_known_only_to_the_state_counts(lake: StateLake) -> None:
    """The head was loaded before a fold that has ended since."""
    head = lake.table.changes()
    lake.commit_state(Change(properties={FOLDED_TO: str(START)}))

    merge_late(lake.table, head, lake.table.items(), [lake.write("20240101", [Event("a", 1, START)], head)])

    assert lake.state() == {"a": "MODIFY 1"}


# -- what is written again -----------------------------------------------------------------------------------------


def test_files_are_ranges_of_keys_and_a_lookup_reads_one() -> None:
    lake = StateLake().make()
    keys = [f"k{n:03}" for n in range(60)]
    merge(lake, *(Event(k, n + 1, START) for n, k in enumerate(keys)), sizes=Sizes(file=300, small=1, group=1))
    assert len(files(lake)) > 3

    for key in keys:
        assert len(holding(lake, (key,))) == 1
    assert holding(lake, ("j",)) == []


def test_the_first_files_are_sized_as_the_changes_that_they_come_from(lake: StateLake) -> None:
    """Only a file says how small its rows are: random text takes as much there as in memory, repeated text nothing."""
    random = Random(1)
    events = [Event(f"k{random.getrandbits(4000):01000x}", n + 1, START) for n in range(200)]
    source = lake.write("20240101", events, lake.table.changes())

    merge(lake, *events, sizes=Sizes(file=source.size // 5, small=1, group=1 << 30))

    assert 4 <= len(files(lake)) <= 6


def test_only_changed_ranges_are_written_again() -> None:
    lake = StateLake().make()
    keys = [f"k{n:03}" for n in range(40)]
    sizes = Sizes(file=300, small=1, group=1)
    merge(lake, *(Event(k, n + 1, START) for n, k in enumerate(keys)), sizes=sizes)
    before = {f.path for f in files(lake)}

    merged = merge(lake, Event("k005", 100, START), Event("k006", 3, START), Event("k035", 101, START), sizes=sizes)

    assert merged.won == 2
    assert 0 < len(before - {f.path for f in files(lake)}) <= 2
    assert lake.state() == {k: f"MODIFY {n + 1}" for n, k in enumerate(keys)} | {
        "k005": "MODIFY 100",
        "k035": "MODIFY 101",
    }
    for key in keys:
        assert len(holding(lake, (key,))) == 1


def test_with_a_sort_key_files_do_not_overlap_either() -> None:
    lake = StateLake(BY_TWO).make()
    pairs = [(p, f"s{n:02}") for p, many in (("a", 2), ("b", 14), ("c", 2), ("d", 9), ("e", 2)) for n in range(many)]
    events = [Event(pair, n + 1, START) for n, pair in enumerate(pairs)]
    sizes = Sizes(file=300, small=1, group=1)
    merge(lake, *events[::2], sizes=sizes)
    merge(lake, *events[1::2], sizes=sizes)

    assert lake.state() == replay(events)
    assert max(len(holding(lake, pair)) for pair in pairs) == 1
    assert len(files(lake)) > 3


def test_many_neighbours_are_written_again_a_few_at_a_time() -> None:
    lake = StateLake(BY_TWO).make()
    pairs = [(p, f"s{n:02}") for p, many in (("a", 2), ("b", 14), ("c", 2), ("d", 9), ("e", 2)) for n in range(many)]
    sizes = Sizes(file=300, small=1, group=1 << 30, together=600)
    merge(lake, *(Event(pair, n + 1, START) for n, pair in enumerate(pairs)), sizes=sizes)
    identity = schema_of(lake.table.items()).identity
    before = [KeyFile.of(f, identity) for f in files(lake)]
    rows = pa.concat_tables(list(read_rows(lake.table.items(), files(lake), list(identity))))
    keys = Keys(rows.sort_by([(name, "ascending") for name in identity]), identity)

    rewrites = plan_rewrites(before, {f.file.path for f in before}, keys, sizes, 50)

    assert sorted(f.file.path for r in rewrites for f in r.files) == sorted(f.file.path for f in before)
    assert sum(r.keys for r in rewrites) == len(pairs)
    assert len(rewrites) > 2
    for one, following in pairwise(sorted(rewrites, key=lambda r: r.spans)):
        assert keys.key(one.spans[-1][1] - 1)[0] < keys.key(following.spans[0][0])[0], (
            "a slice is apart from the others"
        )

    events = [Event(pair, n + 100, START + 1) for n, pair in enumerate(pairs)]
    merge(lake, *events, sizes=sizes)
    assert lake.state() == replay(events)
    assert max(len(holding(lake, pair)) for pair in pairs) == 1


def test_a_small_table_is_one_file() -> None:
    lake = StateLake().make()
    for n in range(6):
        merge(lake, Event(f"k{(n * 7) % 6}", n + 1, START), Event(f"gone{n}", n + 1, START, "REMOVE"))

    assert len(files(lake)) == len(files(lake, deleted=True)) == 1
    assert files(lake)[0].rows == 6


def test_small_neighbours_are_merged_when_one_is_written_again(lake: StateLake) -> None:
    keys = "abcdefgh"
    merge(lake, *(Event(k, n + 1, START) for n, k in enumerate(keys)), sizes=ONE_ROW)
    assert len(files(lake)) == len(keys)

    merge(lake, Event("d", 100, START), sizes=Sizes(file=1 << 20, small=1 << 20, group=1 << 30))

    assert len(files(lake)) == 1
    assert lake.state()["d"] == "MODIFY 100"


def test_many_keys_after_the_last_file_get_their_own_files(lake: StateLake) -> None:
    merge(lake, *(Event(f"a{n:03}", n + 1, START) for n in range(50)))
    before = files(lake)

    sizes = Sizes(file=1 << 20, small=1000, group=1 << 30)
    merge(lake, *(Event(f"b{n:03}", n + 1, START) for n in range(100)), sizes=sizes)

    assert before[0].path in {f.path for f in files(lake)}
    assert len(files(lake)) == 2


@pytest.mark.parametrize(("limit", "value", "commits"), [("GROUP_ROWS", 7, 3), ("GROUP_BYTES", 1, 20), ("_HELD", 1, 1)])
def test_groups_have_a_bounded_size(limit: str, value: int, commits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winners, limit, value)
    lake = StateLake(BY_TWO).make()
    events = [Event((f"p{n % 3}", f"s{n:03}"), n + 1, START, "REMOVE" if n % 4 == 0 else "INSERT") for n in range(20)]

    merged = merge(lake, *events)

    assert {k for k, v in lake.state().items() if not v.startswith("REMOVE")} == set(replay(events))
    assert (merged.won, merged.commits) == (20, commits)
    assert merge(lake, *events).commits == 0


def test_a_long_merge_lists_its_files_in_few_places(lake: StateLake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynalake.lake.current.state.UPKEEP", 12)
    monkeypatch.setattr(winners, "GROUP_BYTES", 1)
    events = [Event(f"k{n:02}", n + 1, START) for n in range(30)]

    assert merge(lake, *events, sizes=ONE_ROW).commits == 30

    snapshot = lake.table.items().iceberg.metadata.current_snapshot()
    assert snapshot is not None
    assert len(snapshot.manifests(lake.table.items().iceberg.io)) < 12
    assert lake.state() == replay(events)


def test_the_cost_of_late_changes_is_limited_and_the_next_run_continues(lake: StateLake) -> None:
    events = [Event(k, n + 1, START) for n, k in enumerate("abcdef")]
    merge(lake, *events, sizes=ONE_ROW)
    late = [Event(k, n + 10, START) for n, k in enumerate("abcdef")]

    runs = 0
    for _ in range(10):
        try:
            merge(lake, *late, sizes=ONE_ROW, limit=5000)
            break
        except NotReadyError:
            runs += 1

    assert 1 < runs < 6
    assert lake.state() == replay(late)


# -- another engine ------------------------------------------------------------------------------------------------


def optimize(lake: StateLake, *parts: list[str], deleted: bool = False) -> None:
    """Rewrite the state's files of a partition as another engine's OPTIMIZE may: unsorted, in overlapping ranges."""
    head = lake.table.items()
    old = head.files({deleted})
    rows = pa.concat_tables([t for f in old for t in read_rows(head, [f])])
    new = []
    for n, keys in enumerate(parts):
        some = rows.filter(pc.is_in(rows["id"], pa.array(keys)))
        some = some.take(pa.array(range(some.num_rows - 1, -1, -1)))
        schema = file_schema(head.schema)
        new.append(
            lake.put(some.cast(schema), f"{lake.names.items_location}/data/{n}-{old[0].folder}.parquet", deleted, head)
        )
    lake.commit_state(Change(tuple(new), tuple(old)))


def test_overlapping_unsorted_files(lake: StateLake) -> None:
    keys = "abcdefgh"
    merge(lake, *(Event(k, n + 1, START) for n, k in enumerate(keys)))
    optimize(lake, list("aceg"), list("bdfh"))
    assert len(holding(lake, ("d",))) == 2

    merge(lake, Event("d", 100, START), Event("e", 2, START), Event("dd", 101, START))

    assert lake.state() == {k: f"MODIFY {n + 1}" for n, k in enumerate(keys)} | {"d": "MODIFY 100", "dd": "MODIFY 101"}

    merge(lake, Event("c", 102, START, "REMOVE"), Event("f", 103, START))

    assert lake.state()["c"] == "REMOVE 102"
    assert max(len(holding(lake, (k,))) for k in keys) == 1


def test_an_item_duplicated_by_another_engine_becomes_one_again(lake: StateLake) -> None:
    merge(lake, Event("a", 1, START), Event("b", 2, START))
    head = lake.table.items()
    rows = pa.concat_tables(read_rows(head, head.files()))
    copy = lake.put(rows.cast(file_schema(head.schema)), f"{lake.names.items_location}/data/x.parquet", False, head)
    lake.commit_state(Change(add=(copy,)))

    merge(lake, Event("a", 3, START), Event("b", 4, START, "REMOVE"))

    assert lake.state() == {"a": "MODIFY 3", "b": "REMOVE 4"}


def test_rows_deleted_by_another_engine_stay_deleted(lake: StateLake) -> None:
    merge(lake, *(Event(k, n + 1, START) for n, k in enumerate("abc")))
    head = lake.table.items()
    keep = pa.concat_tables(read_rows(head, head.files())).filter(pc.field("id") != "b")
    table = head.iceberg
    table.overwrite(keep, overwrite_filter=equal_to("__deleted", False))

    merge(lake, Event("c", 9, START))

    assert lake.state() == {"a": "MODIFY 1", "c": "MODIFY 9"}


# -- others come first ---------------------------------------------------------------------------------------------


def interfere(lake: StateLake, *merges: tuple[Event, ...], **options: Any) -> list[int]:
    """Merge these changes before each of the next updates of Glue. Return the number of merges."""
    waiting, done = list(merges), []

    def on_call(service: str, call: str, request: dict[str, Any]) -> None:
        if call == "update_table" and waiting and request["TableInput"]["Name"] == lake.names.state_table:
            events = waiting.pop(0)
            lake.glue.on_call = lambda *_: None
            merge(lake, *events, **options)
            done.append(1)
            lake.glue.on_call = on_call

    lake.glue.on_call = on_call
    return done


def test_a_refused_group_is_read_and_merged_again(lake: StateLake) -> None:
    merge(lake, Event("a", 1, START), Event("b", 1, START))
    done = interfere(lake, (Event("a", 5, START),), (Event("b", 7, START), Event("c", 8, START)))

    merge(lake, Event("a", 4, START), Event("b", 6, START), Event("c", 9, START), pause=lambda s: None)

    assert len(done) == 2
    assert lake.state() == {"a": "MODIFY 5", "b": "MODIFY 7", "c": "MODIFY 9"}


@pytest.mark.parametrize("mine", [4, 6])
def test_a_new_item_that_others_add_at_the_same_time_appears_once(lake: StateLake, mine: int) -> None:
    """Neither replaces a file: only the ranges of the new files show it."""
    interfere(lake, (Event("a", 5, START),))

    merge(lake, Event("a", mine, START), pause=lambda s: None)

    assert lake.state() == {"a": f"MODIFY {max(5, mine)}"}


def test_others_may_change_other_ranges(lake: StateLake) -> None:
    merge(lake, Event("a", 1, START), Event("z", 1, START), sizes=ONE_ROW)
    done = interfere(lake, (Event("z", 2, START),), sizes=ONE_ROW)
    pauses: list[float] = []

    merge(lake, Event("a", 3, START), sizes=ONE_ROW, pause=pauses.append)

    assert (len(done), len(pauses)) == (1, 1)  # refused by Glue once, and committed on the new head
    assert lake.state() == {"a": "MODIFY 3", "z": "MODIFY 2"}


def test_files_that_are_too_old_are_written_again(lake: StateLake) -> None:
    times = iter([0, 85 * 3_600_000, 85 * 3_600_000, 85 * 3_600_000])

    merge(lake, Event("a", 1, START), clock=lambda: next(times), pause=lambda s: None)

    assert lake.state() == {"a": "MODIFY 1"}
    assert next(times, None) is None


def test_a_state_that_was_recreated_in_the_meantime_is_noticed(lake: StateLake) -> None:
    state = lake.table.items()
    lake.glue.delete_table(DatabaseName=lake.names.lake.database, Name=lake.names.state_table)
    lake.s3._delete(lake.names.metadata_note(lake.names.state_table))
    lake.make()

    with pytest.raises(ConflictError, match=r"made again|rolled back"):
        Merge(lake.table, lake.table.changes(), state).add_rows([], row_bytes=1)


def test_a_state_that_was_rolled_back_in_the_meantime_is_noticed(lake: StateLake) -> None:
    merge(lake, Event("a", 1, START))
    old = lake.glue.tables[lake.names.state_table]["Parameters"]["metadata_location"]
    merge(lake, Event("a", 2, START))
    state = lake.table.items()
    lake.glue.tables[lake.names.state_table]["Parameters"]["metadata_location"] = old

    with pytest.raises(ConflictError, match="rolled back"):
        Merge(lake.table, lake.table.changes(), state).add_rows([], row_bytes=1)


# -- schemas -------------------------------------------------------------------------------------------------------


def write_row(lake: StateLake, row: dict[str, Any]) -> DataFile:
    head = lake.table.changes()
    schema = file_schema(head.schema)
    table = pa.Table.from_pylist([{n: row.get(n) for n in schema.names}], schema=schema)
    key = f"{lake.names.change_folder('20240101', row['id'])}part-0.parquet"
    return lake.put(table, key, "20240101", head)


def test_new_columns_and_fields_are_added_first(lake: StateLake) -> None:
    number = Number(1, 0, 1, True)
    for n, fields in enumerate((("x",), ("x", "y")), 1):
        struct = Struct(tuple(Field(name, name, number) for name in fields))
        grow_schema(lake.table, lake.table.changes(), {"pos": struct})
        row = {**lake.row(Event(f"k{n}", n, START)), "dt": "20240101", "pos": dict.fromkeys(fields, n)}
        file = write_row(lake, row)
        raise_bound(lake.table, START)
        merge_late(lake.table, lake.table.changes(), lake.table.items(), [file])

    positions = {row["id"]: row["pos"] for row in lake.items()}
    assert positions == {"k1": {"x": 1, "y": None}, "k2": {"x": 2, "y": 2}}
    assert schema_of(lake.table.items()).columns == schema_of(lake.table.changes()).columns


def test_a_value_that_does_not_fit_the_states_type_yet_goes_to_other(lake: StateLake) -> None:
    """The changes are widened already, the state is not yet."""
    grow_schema(lake.table, lake.table.changes(), {"n": Number(1, 0, 1, True)})
    merge(lake, Event("a", 1, START))
    before = schema_of(lake.table.changes())
    after = before.widen_for({"n": TEXT})
    head = lake.table.changes()
    from dynalake.lake.columns.iceberg_schema import iceberg_schema

    wider = iceberg_schema(after, head.schema, head.last_column_id, before=before)
    lake.commit(Change(schema=wider, properties={SCHEMA: after.to_json()}))
    file = write_row(lake, {**lake.row(Event("b", 2, START)), "dt": "20240101", "n": '"seven"'})

    merge_late(lake.table, lake.table.changes(), lake.table.items(), [file])

    (row,) = (row for row in lake.items() if row["id"] == "b")
    assert (row["n"], dict(row["__other"])) == (None, {"n": '"seven"'})


# -- the snapshot --------------------------------------------------------------------------------------------------


def test_snapshot_rows_are_merged_as_rows_of_the_shown_backfill(lake: StateLake) -> None:
    head = lake.table.changes()
    file = lake.write("00000000", [Event("a", 0, START, "SNAPSHOT")], head)

    merge_late(lake.table, head, lake.table.items(), [file])

    assert [(row["id"], row["__run"]) for row in lake.items()] == [("a", 0)]


def test_snapshot_rows_wait_for_an_unfinished_swap(lake: StateLake) -> None:
    lake.commit_state(Change(properties={SNAPSHOT_RUN: "2"}))
    head = lake.table.changes()

    with pytest.raises(ConflictError, match="finish the swap"):
        merge_late(
            lake.table, head, lake.table.items(), [lake.write("00000000", [Event("a", 0, START, "SNAPSHOT")], head)]
        )
    assert lake.items() == []


def test_a_snapshot_never_wins_over_a_change(lake: StateLake) -> None:
    merge(lake, Event("a", 1, START, "REMOVE"), Event("b", 2, START))
    head = lake.table.changes()
    rows = [Event(k, 0, START + 9, "SNAPSHOT") for k in "abc"]

    merge_late(lake.table, head, lake.table.items(), [lake.write("00000000", rows, head)])

    assert lake.state() == {"a": "REMOVE 1", "b": "MODIFY 2", "c": "SNAPSHOT 0"}


# -- pure ----------------------------------------------------------------------------------------------------------


@given(
    st.lists(st.sampled_from("abcdefg"), max_size=40),
    st.integers(1, 12),
    st.lists(st.integers(1, 8), min_size=40, max_size=40),
    st.sampled_from([0, 40, 32 << 20]),
)
def test_a_file_holds_whole_partition_keys_or_a_slice_of_one(
    keys: list[str], size: int, steps: list[int], held: int
) -> None:
    rows = [(key, f"{n:03}") for n, key in enumerate(sorted(keys))]
    tables, start = [], 0
    for step in steps:
        some = rows[start : start + step]
        start += step
        tables.append(pa.table({"pk": [r[0] for r in some], "sk": [r[1] for r in some]}))
    patch = pytest.MonkeyPatch()
    patch.setattr("dynalake.lake.current.key_ranges._HELD", held)
    files: list[list[tuple[str, str]]] = [[]]
    for table, ends in cut_tables((t for t in tables if t.num_rows), ("pk", "sk"), size):
        files[-1] += [(row["pk"], row["sk"]) for row in table.to_pylist()]
        if ends:
            assert files[-1]
            files.append([])
    patch.undo()
    files = [file for file in files if file]

    assert [row for file in files for row in file] == rows
    assert all(len(file) <= size for file in files)
    for previous, other in pairwise(files):
        if previous[-1][0] == other[0][0]:
            assert len({pk for pk, _ in previous}) == len({pk for pk, _ in other}) == 1


def test_a_fold_continues_where_the_last_one_ended(lake: StateLake) -> None:
    lake.append(Event("a", 1, START + 1), Event("b", 2, START + 2))
    fold(lake.table, START + 1)
    assert number(lake.table.items(), FOLDED_TO) == START + 1
    assert lake.state() == {"a": "MODIFY 1"}

    assert fold(lake.table, START + 2).merged.rows == 1
    assert lake.state() == {"a": "MODIFY 1", "b": "MODIFY 2"}
