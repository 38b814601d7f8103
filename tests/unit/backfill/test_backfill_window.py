"""The position of changes of a past window: the rule under random histories, and the lines as change records."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynalake.aws.dynamodb import Recovery
from dynalake.backfill.export.incremental import change_encoder, wanted_numbers
from dynalake.backfill.export.manifest import DataFile
from dynalake.backfill.export.numbers import Known, Numbers, Wanted, greatest_before, item_key, key_part, last_before
from dynalake.backfill.export.vanished import encode_vanished, key_attributes, plan_vanished
from dynalake.backfill.plan.windows import LONGEST, SHORTEST, plan_window, split_window
from dynalake.errors import RecordError, SettingsError
from dynalake.record.change import is_sequence_number, pad_sequence_number, sequence_after
from dynalake.record.key import ItemKey, KeyAttribute

KEY = ItemKey(KeyAttribute("id", "S"))
START, END = 1_558_700_000, 1_558_786_400
SECOND = 1_000_000

# One item: when it was written (distinct seconds around the window), and how much its number grew each time.
histories = st.lists(
    st.tuples(st.floats(START - 5000, END + 5000), st.integers(1, 10**6), st.booleans()),
    min_size=1,
    max_size=12,
    unique_by=lambda write: int(write[0] * SECOND),
).map(lambda writes: sorted(writes, key=lambda write: write[0]))


@given(histories, st.integers(1, 10**30), st.integers(0, 900_000))
def test_the_final_state_of_a_window_comes_after_all_before_and_before_all_after(
    history: list[tuple[float, int, bool]], first: int, late: int
) -> None:
    """For any part of the window in the lake, and however small the steps between numbers are."""
    number, micros, numbers = first, [], []
    for at, step, _ in history:
        number += step
        micros.append(int(at * SECOND))
        numbers.append(pad_sequence_number(str(number)))
    inside = [n for n, at in enumerate(micros) if START * SECOND <= at < END * SECOND]
    if not inside:
        return
    last = inside[-1]
    # The stream's time is the second in which the record was made, a little after the write.
    shown = [(at + (late if at < END * SECOND - late else 0)) // SECOND * 1000 for at in micros]
    captured = [n for n, (_, _, lost) in enumerate(history) if n not in inside or not lost]
    known = [Known(("a",), numbers[n], shown[n], "MODIFY") for n in captured]
    ends: Wanted = {("a",): {END: last_before(micros[last], END)}}
    own = sequence_after(greatest_before(ends, known)["a",][END], micros[last])
    assert is_sequence_number(own)
    for n in captured:
        if n <= last:
            assert numbers[n] < own
        else:
            assert own < numbers[n]
    # Again, with the imported change in the lake: the same number, so that it stays one change.
    again = [*known, Known(("a",), own, micros[last] // 1000, "MODIFY")]
    assert sequence_after(greatest_before(ends, again)["a",][END], micros[last]) == own


# One item: the seconds in which it was written, as what (None: removed), and whether the change was lost.
MIDDLE = START + 40_000
lives = st.lists(
    st.tuples(st.integers(START - 500, END + 500), st.sampled_from([None, 1, 2]), st.booleans()),
    max_size=10,
    unique_by=lambda write: write[0],
).map(sorted)


@given(lives, st.booleans())
def test_an_item_created_and_removed_within_a_window_is_removed(
    writes: list[tuple[int, int | None, bool]], put_back_is_exported: bool
) -> None:
    """Whatever was lost within two windows, after their import the lake has the item if and only if the table does."""
    windows = [(START, MIDDLE), (MIDDLE, END)]
    writes_made: list[tuple[int, int | None, int | None, bool]] = []
    state = None
    for at, version, lost in writes:
        if (state, version) != (None, None):  # removing a missing item is not a change
            writes_made.append((at, state, version, lost and START <= at < END))
            state = version
    lake = [
        Known(("a",), pad_sequence_number(str(100 + n)), at * 1000, "MODIFY" if version else "REMOVE")
        for n, (at, _, version, lost) in enumerate(writes_made)
        if not lost
    ]
    mentioned: dict[tuple[str, ...], int] = {}
    imported = []
    for start, end in windows:
        inside = [write for write in writes_made if start <= write[0] < end]
        before, after = (inside[0][1], inside[-1][2]) if inside else (None, None)
        if (before, after) == (None, None) or (before == after and not put_back_is_exported):
            continue
        written = inside[-1][0] * SECOND
        number = greatest_before({("a",): {end: last_before(written, end)}}, lake)["a",][end]
        own = sequence_after(number, written)
        imported.append(Known(("a",), own, written // 1000, "MODIFY" if after else "REMOVE"))
        mentioned["a",] = end
    last = {change.key: change for change in sorted(lake, key=lambda change: change.number)}
    vanished = plan_vanished(last, mentioned, windows) if state is None else ()
    removed = [json.loads(encode_vanished(KEY, item)) for item in vanished]
    everything = [*((c.number, c.operation) for c in (*lake, *imported))]
    everything += [(r["__sequence_number"], r["__operation"]) for r in removed]
    assert len({number for number, _ in everything}) == len(everything)
    alive = bool(everything) and max(everything)[1] != "REMOVE"
    if put_back_is_exported or state is None:
        assert alive == (state is not None)
    # Found again with the removal in the lake, it is not new.
    for item, record in zip(vanished, removed, strict=True):
        again = Known(item.key, record["__sequence_number"], record["__event_time"], "REMOVE")
        assert plan_vanished({item.key: again}, mentioned, windows) == ()


@pytest.mark.parametrize("kinds", [("S", "N"), ("B", None)])
def test_a_key_is_requested_as_it_was_read(kinds: tuple[str, str | None]) -> None:
    key = ItemKey(KeyAttribute("id", kinds[0]), KeyAttribute("at", kinds[1]) if kinds[1] else None)
    item = {"id": {"B": "AP8="} if kinds[0] == "B" else {"S": "ä\0"}, **({"at": {"N": "1.50"}} if kinds[1] else {})}
    attributes = key_attributes(key, item_key(key, item))
    assert item_key(key, attributes) == item_key(key, item)
    assert attributes["id"] in ({"B": b"\x00\xff"}, {"S": "ä\0"})


def test_consecutive_windows_stay_in_order() -> None:
    """Two windows without a captured change between them: the later window's state comes later."""
    known = [Known(("a",), "7".zfill(40), (START - 10) * 1000, "MODIFY")]
    ends = {START + 100: last_before((START + 50) * SECOND, START + 100), END: last_before((END - 50) * SECOND, END)}
    wanted: Wanted = {("a",): ends}
    greatest = greatest_before(wanted, known)["a",]
    numbers = [sequence_after(greatest[end], at * SECOND) for end, at in ((START + 100, START + 50), (END, END - 50))]
    assert numbers == sorted(numbers)
    assert "7".zfill(40) < numbers[0] < "8".zfill(40)


def test_an_item_unknown_to_the_lake_comes_after_its_snapshot() -> None:
    numbers: Numbers = greatest_before({("a",): {END: 0}}, [Known(("b",), "9".zfill(40), 0, "MODIFY")])
    assert numbers == {("a",): {END: "0" * 40}}
    assert "0" * 40 < sequence_after("0" * 40, 1) < "1".zfill(40)


def line(name: str, **images: Any) -> tuple[DataFile, int, dict[str, Any]]:
    item = {"id": {"S": name}}
    metadata = {"WriteTimestampMicros": {"N": str((END - 100) * SECOND + 1234)}}
    return DataFile("f", 1, "", END), 1, {"Metadata": metadata, "Keys": item, **images}


def test_lines_become_changes() -> None:
    lines = [
        line("new", NewImage={"id": {"S": "new"}, "n": {"N": "1"}}),
        line("changed", OldImage={"id": {"S": "changed"}}, NewImage={"id": {"S": "changed"}, "n": {"N": "2"}}),
        line("removed", OldImage={"id": {"S": "removed"}, "n": {"N": "3"}}),
        line("gone"),
    ]
    encode = change_encoder(KEY, greatest_before(wanted_numbers(KEY, lines), []))
    records = [json.loads(encode(each)) for each in lines]
    assert [(r["__operation"], r["id"], r.get("n")) for r in records] == [
        ("INSERT", "new", 1),
        ("MODIFY", "changed", 2),
        ("REMOVE", "removed", 3),
        ("REMOVE", "gone", None),
    ]
    assert {r["__event_time"] for r in records} == {(END - 100) * 1000 + 1}
    assert {r["__sequence_number"] for r in records} == {f"{'0' * 40}.{(END - 100) * SECOND + 1234}"}


@pytest.mark.parametrize("wrong", [{}, {"Item": {}}, {"Metadata": {"WriteTimestampMicros": {"N": "1"}}}])
def test_an_error_names_a_line_that_is_not_a_change(wrong: dict[str, Any]) -> None:
    with pytest.raises(RecordError, match="Line 7 of data/x is not a change"):
        wanted_numbers(KEY, [(DataFile("data/x", 1, ""), 7, wrong)])


@pytest.mark.parametrize(
    ("kind", "same"),
    [
        ("N", ["1.5", "1.50", 1.5, "15E-1"]),
        ("N", ["100", 100, "1E+2", 100.0]),
        ("B", [b"\x00\xff", "AP8="]),
        ("S", ["a"]),
    ],
)
def test_a_key_has_the_same_text_whatever_its_source(kind: str, same: list[Any]) -> None:
    assert len({key_part(kind, value) for value in same}) == 1


def test_a_window_is_in_whole_seconds_and_can_be_restored() -> None:
    recovery = Recovery(START, END)
    assert plan_window(f"{START + 1}.9", "", recovery) == (START + 1, END)
    assert plan_window("2019-05-24T12:13:20Z", "2019-05-24T13:13:20Z", recovery) == (START, START + 3600)
    for start, end in ((f"{START - 1}", ""), (f"{START}", f"{END + 1}"), (f"{END - 60}", ""), ("", ""), ("soon", "")):
        with pytest.raises(SettingsError, match="window"):
            plan_window(start, end, recovery)


@given(st.integers(0, 10**9), st.integers(SHORTEST, 40 * LONGEST))
def test_a_window_is_split_without_a_gap(start: int, length: int) -> None:
    parts = split_window((start, start + length))
    assert parts[0][0] == start
    assert parts[-1][1] == start + length
    assert all(before[1] == after[0] for before, after in pairwise(parts))
    assert all(SHORTEST <= end - begin <= LONGEST for begin, end in parts)
