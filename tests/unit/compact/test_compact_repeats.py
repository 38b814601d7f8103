"""A change that comes on several days is in the Parquet of the first of them alone, however the days are converted."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from dynalake.catalog.partitions import Partition, list_partitions
from dynalake.catalog.register import register_table
from dynalake.catalog.views import Watermark, read_hold
from dynalake.compact import look, repeats
from dynalake.compact.look import plan_look, plan_outdated, plan_together
from dynalake.compact.manifest import read_manifest
from dynalake.compact.plan import MANIFEST
from dynalake.compact.publish import finish_table, publish_table
from dynalake.compact.retain import delete_raw
from dynalake.convert.options import CompactOptions
from dynalake.days import made_before, shift_day
from dynalake.names import Lake
from dynalake.record.key import ItemKey, KeyAttribute
from tests.unit.compact.lake import KEY, TestLake, noon
from tests.unit.compact.test_compact_cost import counted
from tests.unit.compact.test_compact_flow import Killed, killing

DAY, NEXT, THIRD = "20240101", "20240102", "20240103"
MIDNIGHT = round(noon(DAY).timestamp() * 1000) + 12 * 3_600_000


@pytest.fixture(params=["exact", "compiled"])
def either(lake: TestLake, request: pytest.FixtureRequest) -> TestLake:
    lake.options = CompactOptions(compiled_from_mb=0 if request.param == "compiled" else 4)
    return lake


def items(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [{"id": {"S": f"item {n:05d}"}, "n": {"N": str(n)}} for n in range(first, first + count)]


def numbers(lake: TestLake, day: str) -> list[int]:
    """The sequence numbers of the day's Parquet."""
    return sorted(int(str(n)) for part in lake.published(day) for n in part["__sequence_number"].to_pylist())


def counts(lake: TestLake, day: str) -> tuple[int, int, int, int]:
    """Lines, rows, duplicates, repeats."""
    shown = list_partitions(lake.clients, lake.names, lake.names.typed_table)[day]
    m = read_manifest(lake.clients, lake.names, shown.parameters[MANIFEST])
    return m.lines, m.rows, m.duplicates, m.repeats


def night(day: str) -> Any:
    return noon(shift_day(day, 1))


def test_what_came_again_after_midnight_is_dropped_and_counted(either: TestLake) -> None:
    lines = either.lines(items(3), made=MIDNIGHT - 1000)
    either.put(DAY, "1.gz", lines)
    either.run(night(DAY))
    either.put(NEXT, "1.gz", [*lines[1:], *lines[1:2], *either.lines(items(2), made=MIDNIGHT + 3_600_000)])
    (done,) = either.convert(night(NEXT))
    assert (done.lines, done.rows, done.duplicates, done.repeats) == (5, 2, 1, 2)
    assert publish_table(either.clients, either.names, [done], either.options, night(NEXT)).through == NEXT
    assert (numbers(either, DAY), numbers(either, NEXT)) == ([1, 2, 3], [4, 5])
    assert not either.run(night(NEXT)).changed


def test_the_first_run_over_many_days_converts_those_again_that_looked_too_early(either: TestLake) -> None:
    lines = either.lines(items(4), made=MIDNIGHT - 1000)
    for day, some in ((DAY, lines[:2]), (NEXT, lines[1:3]), (THIRD, lines)):
        either.put(day, "1.gz", some)
    assert [(c.day, c.repeats) for c in either.convert(night(THIRD))] == [
        (DAY, 0),
        (NEXT, 0),
        (THIRD, 0),
        (NEXT, 1),
        (THIRD, 3),
    ]
    either.run(night(THIRD))
    assert [numbers(either, day) for day in (DAY, NEXT, THIRD)] == [[1, 2], [3], [4]]


def test_nothing_is_published_before_these_are_converted_and_publishing_does_it_by_itself(lake: TestLake) -> None:
    lines = lake.lines(items(2), made=MIDNIGHT - 1000)
    for day in (DAY, NEXT):
        lake.put(day, "1.gz", lines)
    first = [one for one in lake.convert(night(NEXT)) if not one.repeats]
    answer = publish_table(lake.clients, lake.names, first, lake.options, night(NEXT))
    assert (answer.reconvert, answer.changed) == ((NEXT,), False)
    assert finish_table(lake.clients, lake.names, first, lake.options, night(NEXT)).days == (DAY, NEXT)
    assert (numbers(lake, DAY), numbers(lake, NEXT)) == ([1, 2], [])


def test_a_redrive_five_days_later_repeats_nothing(either: TestLake) -> None:
    lines = either.lines(items(3), made=MIDNIGHT - 3_600_000)
    for day in (DAY, shift_day(DAY, 2), shift_day(DAY, 4)):
        own = [] if day != DAY else lines[:2]
        at = round(noon(day).timestamp() * 1000)
        either.put(day, "1.gz", [*own, *either.lines(items(1), made=at)])
        either.run(night(day))
    late = shift_day(DAY, 5)
    either.put(late, "redrive.gz", lines)
    either.run(night(late))
    assert numbers(either, late) == [3]
    assert counts(either, late) == (3, 1, 0, 2)


def test_a_late_object_of_an_earlier_day_moves_the_change_there(either: TestLake) -> None:
    lines = either.lines(items(2), made=MIDNIGHT - 1000)
    either.put(DAY, "1.gz", lines[:1])
    either.run(night(DAY))
    either.put(NEXT, "1.gz", lines)
    either.run(night(NEXT))
    assert (numbers(either, DAY), numbers(either, NEXT)) == ([1], [2])
    either.put(DAY, "late.gz", lines[1:])
    assert either.run(night(NEXT)).days == (DAY, NEXT)
    assert (numbers(either, DAY), numbers(either, NEXT)) == ([1, 2], [])
    assert read_hold(either.clients, either.names) is None


def test_killed_while_it_moves_the_next_run_finishes_it(lake: TestLake) -> None:
    clients, held, finished = lake.clients, 0, False
    for after in range(8, 40):  # before that both days are being converted
        one = TestLake(clients, lake.names.lake.table(f"T{after:02d}"))
        register_table(clients, one.names, KEY, source_arn="arn")
        lines = one.lines(items(2), made=MIDNIGHT - 1000)
        one.put(DAY, "1.gz", lines[:1])
        one.put(NEXT, "1.gz", lines)
        one.run(night(NEXT))
        one.put(DAY, "late.gz", lines[1:])
        one.clients, _ = killing(clients, after)
        try:
            one.run(night(NEXT))
            finished = True
        except Killed:
            one.clients = clients
            one.end_lease()
            shown = (numbers(one, DAY), numbers(one, NEXT))
            if shown not in (([1], [2]), ([1, 2], [])):
                held += 1
                assert read_hold(clients, one.names) == Watermark(NEXT)
        if finished:
            break
        finish_table(clients, one.names, one.convert(night(NEXT)), one.options, night(NEXT))
        assert (numbers(one, DAY), numbers(one, NEXT)) == ([1, 2], [])
        assert read_hold(clients, one.names) is None
    assert finished
    assert held > 0, "no kill fell between the two days"


@pytest.mark.parametrize("file_format", ["parquet", "orc"])
def test_with_more_than_may_be_held_row_groups_are_read_as_they_are_needed(
    either: TestLake, monkeypatch: pytest.MonkeyPatch, file_format: str
) -> None:
    """All of a day are stragglers, as after an outage."""
    monkeypatch.setattr(repeats, "HELD", 1000)
    noise = random.Random(1)
    lines = either.lines(({**item, "t": {"S": noise.randbytes(2000).hex()}} for item in items(900)), made=MIDNIGHT - 1)
    noise.shuffle(lines)
    options = CompactOptions(
        row_group_mb=1, part_mb=1, format=file_format, compiled_from_mb=either.options.compiled_from_mb
    )
    either.options = options
    either.put(DAY, "1.gz", lines[:500])
    either.run(night(DAY))
    either.options = replace(options, format="parquet")
    either.put(NEXT, "1.gz", lines[400:])
    largest = 0
    read = repeats._Day.rows

    def watched(day: Any, bounds: Any) -> Iterable[Any]:
        nonlocal largest
        for rows in read(day, bounds):
            largest = max(largest, rows.num_rows)
            yield rows

    monkeypatch.setattr(repeats._Day, "rows", watched)
    either.run(night(NEXT))
    assert counts(either, NEXT) == (500, 400, 0, 100)
    kept = sorted(int(json.loads(line)["__sequence_number"]) for line in lines[500:])
    assert numbers(either, NEXT) == kept
    assert 0 < largest < 400 or file_format == "orc"


def test_where_no_earlier_day_is_there_nothing_is_looked_at(lake: TestLake) -> None:
    lake.put(DAY, "1.gz", lake.lines(items(20), made=MIDNIGHT - 40 * 3_600_000))
    with counted(lake.clients) as made:
        lake.run(night(DAY))
    assert made["GetObject"] < 10
    assert counts(lake, DAY) == (20, 20, 0, 0)


def test_a_usual_day_reads_one_row_group_of_the_day_before_once(lake: TestLake) -> None:
    day = lake.lines(items(50), made=MIDNIGHT - 3_600_000)
    last = lake.lines(items(2), made=MIDNIGHT - 500)
    lake.put(DAY, "1.gz", [*day, *last])
    lake.run(night(DAY))
    lake.put(NEXT, "1.gz", [*last, *lake.lines(items(50), made=MIDNIGHT + 3_600_000)])
    ranged: list[str] = []
    lake.clients.s3.meta.events.register(
        "before-call.s3.GetObject",
        lambda params, **_: ranged.extend(v for k, v in params["headers"].items() if k == "Range"),
    )
    lake.run(night(NEXT))
    assert counts(lake, NEXT) == (52, 50, 0, 2)
    # The footers of both days' files, and the identities of one row group.
    assert len(ranged) <= 6


@pytest.mark.parametrize("held", [repeats.HELD, 0])
def test_a_key_is_the_same_whatever_type_its_column_had(
    lake: TestLake, monkeypatch: pytest.MonkeyPatch, held: int
) -> None:
    monkeypatch.setattr(repeats, "HELD", held)
    key = ItemKey(KeyAttribute("n", "N"), KeyAttribute("b", "B"))
    keys = ["1", "-7", "0", "100", "12345678901234567890", "0.5", "1E-30", "1E+40", "-0.00000000000001"]
    days = [shift_day(DAY, n) for n in range(5)]
    one = TestLake(lake.clients, lake.names.lake.table("Numbers"))
    register_table(one.clients, one.names, key, source_arn="arn")
    images = [{"n": {"N": number}, "b": {"B": b"YQ=="}} for number in keys]
    lines = one.lines(images, made=MIDNIGHT - 1)
    # Every day the keys need a wider type: bigint, decimal, text; and all of them come again.
    for day, known in zip(days, (3, 5, 6, 7, 9), strict=True):
        one.put(day, "1.gz", lines[:known])
        one.convert(night(day))
        one.options = CompactOptions()
        finish_table(one.clients, one.names, one.convert(night(day)), one.options, night(day))
    kinds = [str(part.schema.field("n").type) for part in one.published(days[0])]
    assert kinds == ["string"]
    assert [len(numbers(one, day)) for day in days] == [3, 2, 1, 1, 2]


def test_imported_changes_with_one_number_are_told_apart_by_their_keys(lake: TestLake) -> None:
    """A window is imported twice; of items that the lake did not know, the numbers may be the same."""
    number = "0" * 40 + "." + "1704067200000000"
    lines = [json.dumps({**json.loads(x), "__sequence_number": number}) for x in lake.lines(items(3), made=MIDNIGHT)]
    lake.put(NEXT, "1.gz", lines[:2])
    lake.run(night(NEXT))
    lake.put(THIRD, "1.gz", lines)
    lake.run(night(THIRD))
    assert counts(lake, THIRD) == (3, 1, 0, 2)


def test_days_whose_raw_objects_were_deleted_do_not_convert_one_another_again(lake: TestLake) -> None:
    lines = lake.lines(items(4), made=MIDNIGHT - 1)
    for number, day in enumerate((DAY, NEXT, THIRD)):
        lake.put(day, "1.gz", lines[: number + 2])
        lake.run(night(day))
    last = "20240131"
    lake.put(last, "1.gz", lake.lines(items(1)))
    lake.run(night(last))
    assert delete_raw(lake.clients, lake.names, lake.options, 5, noon("20240301")) == (DAY, NEXT, THIRD)
    lake.options = CompactOptions(codec="snappy")
    assert lake.run(night(last), [DAY]).days == (DAY,)
    assert lake.run(night(last), [DAY, NEXT, THIRD]).days == (NEXT, THIRD)
    assert [numbers(lake, day) for day in (DAY, NEXT, THIRD)] == [[1, 2], [3], [4]]
    assert not lake.run(night(last)).changed


@pytest.mark.parametrize("seed", range(3))
def test_in_whatever_order_copies_come_and_days_are_converted(lake: TestLake, seed: int) -> None:
    dice = random.Random(seed)
    days = [shift_day(DAY, n) for n in range(4)]
    lines = lake.lines(items(6), made=MIDNIGHT - dice.choice((1, 60_000, 3_600_000)))
    copies = [(day, number) for number in range(6) for day in dice.sample(days, dice.randint(1, 4))]
    dice.shuffle(copies)
    arrived: dict[int, str] = {}
    for round_, start in enumerate(range(0, len(copies), 5)):
        for day, number in copies[start : start + 5]:
            lake.put(day, f"{round_}-{number}.gz", [lines[number]])
            arrived[number] = min(day, arrived.get(number, day))
        now = night(days[-1])
        finish_table(lake.clients, lake.names, lake.convert(now), lake.options, now)
        shown = list_partitions(lake.clients, lake.names, lake.names.typed_table)
        found = {(n - 1, day) for day in shown for n in numbers(lake, day)}
        assert found == set(arrived.items())
        assert sum(len(numbers(lake, day)) for day in shown) == len(found)


# -- decisions ------------------------------------------------------------------------------------------------------


def test_what_is_looked_at_begins_with_the_day_of_the_oldest_straggler() -> None:
    lake = Lake("dev", "123456789012", "us-east-1")
    minute = MIDNIGHT // 60_000
    assert plan_look(lake, NEXT, [minute + 1, minute + 900]).since == ""
    assert plan_look(lake, NEXT, [minute, minute + 900]).since == DAY
    found = plan_look(lake, THIRD, [minute - 1, minute + 900, minute + 3000])
    assert (found.since, found.minutes, found.until) == (DAY, (minute - 1, minute + 900), MIDNIGHT + 86_460_000)
    assert plan_look(lake, NEXT, [-(10**14)]).since == "19691231"
    assert plan_look(lake, "00000000", [0, minute]).since == ""


def test_a_day_begins_in_the_time_zone_of_the_lake() -> None:
    assert made_before("20240102") == MIDNIGHT + 60_000
    assert made_before("20240102", ZoneInfo("Europe/Berlin")) == MIDNIGHT + 60_000 - 3_600_000


def partition(day: str, origin: str, since: str = "", looked: dict[str, str] | None = None) -> Partition:
    parameters = {look.ORIGIN: origin}
    if since:
        parameters[look.LOOKED] = json.dumps([since, looked or {}])
    return Partition(day, "", parameters)


def test_a_day_is_outdated_when_a_day_it_looked_at_is_another() -> None:
    shown = [
        partition(DAY, "a"),
        partition(NEXT, "b", DAY, {DAY: "a"}),
        partition(THIRD, "c", NEXT, {NEXT: "b"}),
        partition("20240104", "d", DAY, {DAY: "older", NEXT: "b", THIRD: "c"}),
    ]
    published = {p.day: p for p in shown}
    assert plan_outdated({}, published) == ("20240104",)
    del published[DAY]
    assert plan_outdated({}, published) == (), "what is not listed has not changed"
    published["20231231"] = partition("20231231", "new")
    assert plan_outdated({}, published) == ()


def test_only_days_that_readers_read_from_parquet_have_to_change_together(lake: TestLake) -> None:
    lines = lake.lines(items(1), made=MIDNIGHT - 1)
    for day in (DAY, NEXT, THIRD):
        lake.put(day, "1.gz", lines)
    done = {c.day: read_manifest(lake.clients, lake.names, c.manifest) for c in lake.convert(night(THIRD))}
    assert plan_together(done, Watermark(THIRD)) == (DAY, NEXT, THIRD)
    assert plan_together(done, Watermark(NEXT)) == (DAY, NEXT)
    assert plan_together(done, Watermark(DAY)) == ()
    assert plan_together({DAY: done[DAY], "00000000": done[DAY]}, Watermark(THIRD, True)) == ()
