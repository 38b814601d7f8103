"""The rules of the state (S1 to S4), played with the real code: a seed decides what happens when.

Conversions with late changes, folds, backfills and another engine's OPTIMIZE at once, each killed, frozen or tried
again anywhere; answers of Glue that are lost or late. After every commit the readers' views are compared.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from botocore.exceptions import BotoCoreError, ClientError

from dynalake.days import SNAPSHOT_DAY
from dynalake.errors import ConflictError, DynalakeError
from dynalake.lake.catalog.commit import commit_on
from dynalake.lake.catalog.iceberg import Change, Head, News, Refused
from dynalake.lake.catalog.table import FOLDED_TO, PLANNED_ON, SHOWN_RUN, SNAPSHOT_RUN, Table, number
from dynalake.lake.current import fold, snapshot, state
from dynalake.lake.current.key_ranges import Sizes
from dynalake.lake.current.view_entries import write_views
from dynalake.lake.current.views import open_day
from dynalake.lake.files.folders import FolderManifest, new_folder
from dynalake.lake.files.parts import file_schema
from dynalake.lake.files.read import read_rows
from tests.support.memory.aws import memory_clients
from tests.support.memory.state_lake import DAY_MS, START, Event, StateLake
from tests.support.memory.steps import DROP, LATE, LOSE, THROTTLE, Steps, Worker, land

STEPS = 500
AT_ONCE = 4
KEYS = "abcdef"
SIZES = (Sizes(), Sizes(file=1, small=1, group=1), Sizes(file=3000, small=1500, group=3000, together=6000))
ATTEMPTS = 5


class Seen(NamedTuple):
    """A row as a reader sees it."""

    key: str
    sequence: int
    time: int
    day: str
    gone: bool


class StateWorld:
    """One seed. `faults`: what went wrong, and how often."""

    def __init__(self, seed: int) -> None:
        self.lake = StateLake().make()
        self.steps = Steps(seed, self.lake.glue)
        self.random = pick = self.steps.random
        self.faults: Counter[str] = Counter()
        self.sizes = pick.choice(SIZES)
        times = sorted(START + pick.randint(0, 3 * DAY_MS) // 1000 * 1000 for _ in range(pick.randint(8, 20)))
        self.log = [
            Event(pick.choice(KEYS), n, time, pick.choice(["MODIFY", "MODIFY", "REMOVE"]))
            for n, time in enumerate(times, 1)
        ]
        self.bound_times = [time + pick.choice([-1, 0, 0, 1]) for time in times]
        self.waiting = pick.sample(self.log, len(self.log))
        self.landed: set[tuple[str, int]] = set()
        self.runs: dict[int, frozenset[str]] = {}
        self._rows: dict[str, list[Seen]] = {}
        self._versions: list[str] = []
        self.tolerant = True
        self.steps.faults = self._fault
        self.lake.s3.on_call = self.lake.glue.on_call = self.steps.on_call

    # -- what happens --------------------------------------------------------------------------------------------------

    def play(self) -> None:
        """Play everything concurrently."""
        pick = self.random
        for _ in range(STEPS):
            chance = pick.random()
            awake = [w for w in self.steps.workers if w.asleep_until <= self.lake.clock.now]
            if chance < 0.05 and len(awake) < AT_ONCE:
                self.start(pick.choice([self.conversion, self.conversion, self.a_fold, self.a_backfill, self.others])())
            elif chance < 0.06 and self.lake.glue.late:
                land(self.lake.glue, pick.randrange(len(self.lake.glue.late)))
            elif chance < 0.065:
                self.lake.clock.move(seconds=60)
            elif awake:
                worker = pick.choice(awake)
                if chance > 0.99:
                    self.interrupt(worker)
                else:
                    self.steps.advance(worker)
                    self.see_end(worker)
            self.judge()
        for worker in list(self.steps.workers):
            self.steps.kill(worker)

    def start(self, task: Callable[[], object]) -> None:
        self.steps.start("run", task).returned = task

    def interrupt(self, worker: Worker) -> None:
        """Kill a worker, or freeze it, which Airflow cannot tell apart; its task may be tried again."""
        task = worker.returned
        if self.random.random() < 0.6:
            self.steps.kill(worker)
        else:
            worker.asleep_until = self.lake.clock.now + self.random.choice([30, 120])
        if self.random.random() < 0.6:
            self.start(task)

    def see_end(self, worker: Worker) -> None:
        if worker.raised is not None and not isinstance(worker.raised, DynalakeError | BotoCoreError | ClientError):
            self.faults[f"{type(worker.raised).__name__}: {worker.raised}"] += 1

    def settle(self) -> None:
        """Let pending calls land or be refused; then play one run after the other, without faults."""
        self.tolerant = False
        while self.lake.glue.late:
            land(self.lake.glue)
            self.judge()
        try:
            self.convert(self.log)
            self.judge()
            self.fold(self.log[-1].time)
            self.judge()
        except DynalakeError as error:
            self.faults[f"never quiet: {type(error).__name__}"] += 1
        changes, items = self.lake.table.changes(), self.lake.table.items()
        if {(r.key, r.sequence) for r in self.rows(changes) if r.sequence} != {(e.key, e.sequence) for e in self.log}:
            self.faults["changes are lost or made up"] += 1
        if number(changes, SHOWN_RUN) != number(items, SNAPSHOT_RUN):
            self.faults["a swap is not finished"] += 1
        expected = dict.fromkeys(self.runs.get(number(changes, SHOWN_RUN), ()), 0)
        expected |= {event.key: event.sequence for event in self.log}
        if {r.key: r.sequence for r in self.rows(items)} != expected:
            self.faults["the state is not the winners"] += 1

    def _fault(self, worker: Worker) -> str:
        if not self.tolerant or self.random.random() > 0.1:
            return ""
        return self.random.choice([LOSE, DROP, LATE, THROTTLE])

    # -- what runs -----------------------------------------------------------------------------------------------------

    def other(self) -> Table:
        """Return the table as another process sees it."""
        return Table(memory_clients(self.lake.s3, self.lake.glue), self.lake.names)

    def conversion(self) -> Callable[[], None]:
        count = self.random.randint(1, 4)
        events, self.waiting = self.waiting[:count], self.waiting[count:]
        return lambda: self.convert(events)

    def a_fold(self) -> Callable[[], None]:
        bound = self.random.choice(self.bound_times)
        return lambda: self.fold(bound)

    def a_backfill(self) -> Callable[[], None]:
        name = f"r{self.random.random()}"
        keys = frozenset(self.random.sample(KEYS + "xyz", self.random.randint(0, 6)))
        return lambda: self.backfill(name, keys)

    def others(self) -> Callable[[], object]:
        return self.optimize if self.random.random() < 0.8 else lambda: write_views(self.other())

    @property
    def how(self) -> dict[str, Any]:
        return {"sizes": self.sizes, "clock": self.lake.now, "pause": lambda seconds: None}

    def convert(self, events: Iterable[Event]) -> None:
        """Convert: finish a swap, bring late changes to the state, then commit all changes."""
        self.landed |= {(e.key, e.sequence) for e in events}
        table = self.other()
        for _ in range(ATTEMPTS):
            planned, items = table.changes(), table.items()
            snapshot.finish_snapshot(table, planned, items, **self.how)
            if snapshot.is_unfinished(planned, items):
                planned, items = table.changes(), table.items()
            live = {(r.key, r.sequence) for r in self.rows(planned)}
            by_day: dict[str, list[Event]] = {}
            for event in events:
                if (event.key, event.sequence) not in live:
                    by_day.setdefault(self.lake.day(event.time), []).append(event)
            files = tuple(self.lake.write(day, some, planned, table) for day, some in by_day.items())
            own = {(r.key, r.sequence) for f in files for r in self.rows_of(f.path)}

            def build(now: Head, news: News, planned: Head = planned, files: Any = files, own: Any = own) -> Change:
                if any(planned.properties[name] != now.properties[name] for name in PLANNED_ON):
                    raise ConflictError("another fold or backfill")
                if any((r.key, r.sequence) in own for f in news.added for r in self.rows_of(f.path)):
                    raise ConflictError("another conversion")
                return Change(add=files)

            try:
                if files:
                    state.merge_late(table, planned, items, files, **self.how)
                    commit_on(table.catalog, table.names, planned, build)
                return
            except ConflictError:
                continue
        raise ConflictError("others came first")

    def fold(self, bound: int) -> None:
        fold.fold(self.other(), bound, **self.how)

    def backfill(self, name: str, keys: frozenset[str]) -> None:
        table = self.other()
        run = snapshot.number_run(table, name)
        self.runs[run] = keys
        manifests: list[FolderManifest] = [self.lake.backfill(run, *sorted(keys), table=table)] if keys else []
        snapshot.swap_snapshot(table, run, manifests, **self.how)

    def optimize(self) -> None:
        """Merge some files into one in another order, as another engine does."""
        table = self.other()
        head = table.items()
        deleted = self.random.random() < 0.3
        files = head.files({deleted})
        if not files:
            return
        some = self.random.sample(files, self.random.randint(1, len(files)))
        rows = pa.concat_tables(read_rows(head, some)).cast(file_schema(head.schema))
        rows = rows.take(pa.array(self.random.sample(range(rows.num_rows), rows.num_rows)))
        key = f"{self.lake.names.items_location}/data/{new_folder()}.parquet"
        try:
            table.catalog.commit(head, Change((self.lake.put(rows, key, deleted, head, table),), tuple(some)))
        except Refused:
            pass

    # -- what readers see ----------------------------------------------------------------------------------------------

    def judge(self) -> None:
        """Check what readers see if somebody has committed to a table or to the view."""
        names = self.lake.names
        watched = (names.changes_table, names.state_table, names.current_view)
        versions = [self.lake.glue.tables[name]["VersionId"] for name in watched]
        if versions == self._versions:
            return
        self._versions = versions
        changes, items = self.lake.table.changes(), self.lake.table.items()
        rows, kept = self.rows(changes), self.rows(items)
        if len({r.key for r in kept}) < len(kept):
            self.faults["an item is in the state twice"] += 1
        if len({(r.key, r.sequence) for r in rows}) < len(rows):
            self.faults["a change is there twice"] += 1
        bound = int(self.lake.glue.tables[names.current_view]["Parameters"][FOLDED_TO])
        since = open_day(bound, names.lake)
        newest = _winners(r for r in rows if r.day >= since and r.day > SNAPSHOT_DAY and r.time > bound)
        shown = {r.key: r for r in kept} | newest
        committed = _winners(r for r in rows if r.day != SNAPSHOT_DAY)
        # During a swap, an item may come from the previous backfill, from this one, or from one in between.
        runs = range(number(changes, SHOWN_RUN), number(items, SNAPSHOT_RUN) + 1)
        for key in {*shown, *committed, *KEYS}:
            expected, actual = committed.get(key), shown.get(key)
            if actual is not None and actual.sequence:
                # A late change that has landed may be shown before it is committed; never an older one.
                early = expected is None or actual.sequence > expected.sequence
                if early and (key, actual.sequence) not in self.landed:
                    self.faults["a change that nobody made"] += 1
                if expected is not None and actual.sequence < expected.sequence:
                    self.faults["an older image"] += 1
            elif expected is not None:
                self.faults["a change is not shown"] += 1
            elif {key in self.runs.get(run, ()) for run in runs} == {actual is None}:
                self.faults["an item of another backfill" if actual else "an item of the backfill is missing"] += 1

    def rows(self, head: Head) -> list[Seen]:
        return [row for file in head.files() for row in self.rows_of(file.path)]

    def rows_of(self, path: str) -> list[Seen]:
        """Return the rows of a file, which never changes."""
        if path not in self._rows:
            stored = self.lake.s3.objects[path.removeprefix(self.lake.names.uri(""))]
            self._rows[path] = [
                Seen(
                    r["id"],
                    int(r["__sequence_number"]),
                    r["__event_time"],
                    r.get("dt", ""),
                    r["__operation"] == "REMOVE",
                )
                for r in pq.read_table(io.BytesIO(stored.body)).to_pylist()
            ]
        return self._rows[path]


def _winners(rows: Iterable[Seen]) -> dict[str, Seen]:
    return {row.key: row for row in sorted(rows, key=lambda row: row.sequence)}


def play(seed: int) -> StateWorld:
    """Play a seed from beginning to end; its `faults` are empty if every rule held."""
    world = StateWorld(seed)
    world.play()
    world.settle()
    return world
