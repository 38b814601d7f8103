"""Readers of both views in a loop, while everything that a compaction does happens, and is killed anywhere."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from dynalake.catalog.partitions import register_days
from dynalake.compact.supersede import delete_superseded
from tests.unit.compact.lake import noon
from tests.unit.compact.test_compact_flow import Killed, killing

from dynalake.days import shift_day
from tests.aws.compact_lake import DAY, AthenaLake, key, make_lake

ROUNDS = int(os.environ.get("DYNALAKE_READER_ROUNDS", "4"))
"""Two have types that become wider, and days that change together; a copy on three days comes only with four."""

READERS = 3
# What the values of one attribute are, two rounds each: a wider type than those before it, and then no wider one, so
# that nothing but the days that change together keeps readers from seeing them half.
VALUES: list[Callable[[int], dict[str, Any]]] = [
    lambda n: {"v": {"N": str(n)}},
    lambda n: {"v": {"N": f"{n}.5"}, "s": {"M": {"a": {"N": str(n)}}}},
    lambda n: {"v": {"N": str(n)}, "s": {"M": {"a": {"N": str(n)}, "b": {"S": "x"}}}},
    lambda n: {"v": {"N": str(10**20 + n)}, "s": {"M": {"b": {"N": "1"}}}},
    lambda n: {"v": {"S": f"text {n}"}},
    lambda n: {"v": {"L": [{"N": str(n)}]}},
]


@dataclass
class Truth:
    """What readers must see (`shown`), and the most that they may (`put`): sequence number → item and value."""

    put: dict[int, tuple[str, str]] = field(default_factory=dict)
    shown: set[int] = field(default_factory=set)
    lines: dict[str, list[str]] = field(default_factory=dict)
    """What came first on each day."""


@dataclass
class Reader:
    """Asks both views again and again, each time against what was true before and after the query."""

    lake: AthenaLake
    truth: Truth
    stop: threading.Event
    queries: int = 0
    problems: list[str] = field(default_factory=list)

    def run(self) -> None:
        try:
            while not self.stop.is_set():
                self.check_changes()
                self.check_current()
        except Exception as error:
            self.problems.append(repr(error))

    def check_changes(self) -> None:
        before = set(self.truth.shown)
        rows = self.ask(f'SELECT id, "__sequence_number", v FROM "{self.lake.names.changes_view}"')
        numbers = [int(row[1]) for row in rows]
        self.expect(len(numbers) == len(set(numbers)), "doubled", rows)
        self.expect(before <= set(numbers), f"missing {sorted(before - set(numbers))}", rows)
        self.expect_values(rows)

    def check_current(self) -> None:
        before = newest(self.truth, self.truth.shown)
        rows = self.ask(f'SELECT id, "__sequence_number", v FROM "{self.lake.names.latest_view}"')
        found = {row[0]: int(row[1]) for row in rows}
        self.expect(len(found) == len(rows), "an item twice", rows)
        self.expect(all(found.get(item, -1) >= number for item, number in before.items()), f"older than {before}", rows)
        self.expect_values(rows)

    def expect_values(self, rows: list[list[Any]]) -> None:
        for item, number, value in rows:
            wanted = self.truth.put.get(int(number))
            # A value that is wider than today's type is null until the type is widened.
            fits = wanted is not None and item == wanted[0] and (value is None or plain(value) == wanted[1])
            self.expect(fits, f"{wanted} is {item, value}", rows)

    def expect(self, holds: bool, what: str, rows: object) -> None:
        if not holds:
            self.problems.append(f"{what} in {rows}")

    def ask(self, sql: str) -> list[list[Any]]:
        self.queries += 1
        return self.lake.ask(sql)


def newest(truth: Truth, numbers: set[int]) -> dict[str, int]:
    """item → its last change among these."""
    found: dict[str, int] = {}
    for number in sorted(set(numbers)):
        found[truth.put[number][0]] = number
    return found


def plain(value: str) -> str:
    """The value without what only says its type: `"x"` as JSON text is x, 1.0 is 1."""
    text = value.strip('"')
    return text.removesuffix(".0")


def test_readers_never_see_a_change_missing_doubled_or_mixed(clients: Any) -> None:
    lake = make_lake(clients)
    truth, stop = Truth(), threading.Event()
    readers = [Reader(lake, truth, stop) for _ in range(READERS)]
    put(lake, truth, DAY, 0, VALUES[0])
    lake.run(noon(shift_day(DAY, 1)))
    threads = [threading.Thread(target=reader.run) for reader in readers]
    for thread in threads:
        thread.start()
    kills = 0
    try:
        for number in range(1, ROUNDS + 1):
            kills += play(lake, truth, number, random.Random(number))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert [problem for reader in readers for problem in reader.problems] == []
    assert all(reader.queries >= 2 * ROUNDS for reader in readers)
    assert kills >= ROUNDS
    final = Reader(lake, truth, stop)
    final.check_changes()
    final.check_current()
    assert final.problems == []


def play(lake: AthenaLake, truth: Truth, number: int, dice: random.Random) -> int:
    """A new day, late data in an old one, repeats on both, a wider type; runs that are killed until one is through.
    How many were."""
    day, values = shift_day(DAY, number), VALUES[(number + 1) // 2 % len(VALUES)]
    before = shift_day(day, -1)
    now = noon(shift_day(day, 1))
    register_days(lake.clients, lake.names, [day])
    put(lake, truth, day, number, values)
    put(lake, truth, before, number, values, late=True)
    # What came on the day before comes again, and of what came there first, a copy comes late to the day before that.
    lake.put(day, f"{number}-again.gz", truth.lines[before])
    if number > 1:
        lake.put(shift_day(before, -1), f"{number}-copy.gz", truth.lines[before][:1])
    clients = lake.clients
    kills, steps = 0, dice.randrange(3)
    while True:
        lake.clients, _ = killing(clients, steps)
        try:
            lake.run(now)
            break
        except Killed:
            kills += 1
            steps += dice.randrange(1, 6)
        finally:
            lake.clients = clients
            lake.end_lease()
    truth.shown |= set(truth.put)
    delete_superseded(clients, lake.names, lake.options, datetime.now(UTC))
    return kills


def put(
    lake: AthenaLake, truth: Truth, day: str, number: int, values: Callable[[int], dict[str, Any]], late: bool = False
) -> None:
    """Changes of old and new items, and each line twice. Late data is shown when a run has taken it up."""
    images = [{**key(item), **values(lake.sequence + i + 1)} for i, item in enumerate((0, number, 100 + number))]
    first = lake.sequence + 1
    # The last two before the end of the day, the first before it began.
    end = round(noon(day).timestamp() * 1000) + 12 * 3_600_000
    lines = [*lake.lines(images[:1], made=end - 86_401_000), *lake.lines(images[1:], made=end - 1000)]
    for offset, image in enumerate(images):
        value = image["v"].get("N") or image["v"].get("S") or f"[{image['v']['L'][0]['N']}]"
        truth.put[first + offset] = (image["id"]["S"], value)
    lake.put(day, f"{number}-{'late' if late else 'new'}.gz", [*lines, *lines[:1]])
    if not late:
        truth.lines[day] = lines
        truth.shown |= set(range(first, first + len(images)))
