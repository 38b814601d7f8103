"""The part of the lake's protocol for conversions, played with the real code: a seed decides what happens when.

Several concurrent runs, each killed, retried or frozen anywhere; answers of Glue that are lost or late; objects that
arrive in between, twice and on other days; compaction, a fold's marker, another engine's OPTIMIZE, garbage collection.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dynalake.convert.batch import convert_batch
from dynalake.convert.finish import finish_table, read_results
from dynalake.convert.plan import Batch, ConvertLimits, plan_table
from dynalake.errors import DynalakeError
from dynalake.lake.catalog.iceberg import Change as Commit
from dynalake.lake.catalog.iceberg import DataFile, Head, Refused
from dynalake.lake.catalog.table import BOUND, COLLECTED_AT, GRACE, Table
from dynalake.lake.files.folders import FolderManifest, Part, new_folder, read_manifests, write_manifest
from dynalake.lake.files.parts import file_schema
from dynalake.record.change import EVENT_TIME, SEQUENCE_NUMBER
from tests.support.memory.convert_lake import DAY_MS, HOUR, Change, ConvertLake
from tests.support.memory.steps import DROP, LATE, LOSE, THROTTLE, Steps, Worker, land

STEPS = 400
AT_ONCE = 3
"""The most conversions that run at the same time."""


@dataclass
class Run:
    """A conversion, stage by stage. Finished stages stay finished if another worker tries one again."""

    lake: ConvertLake
    limits: ConvertLimits
    days: tuple[str, ...] = ()
    batches: tuple[Batch, ...] | None = None
    converted: set[int] = field(default_factory=set)
    tried: Counter[str] = field(default_factory=Counter)

    def go(self) -> None:
        """Run as Airflow does: the plan, then each batch, then the commit of the converted ones."""
        table = self.lake.other()
        if self.batches is None:
            self.batches = plan_table(table, self.limits, self.lake.clock.moment, self.days).batches
        for batch in self.batches:
            if batch.number in self.converted:
                continue
            try:
                convert_batch(table, batch, self.lake.read)
            except DynalakeError:
                continue  # the task fails, and the others continue
            self.converted.add(batch.number)
        if self.batches:
            plan = self.batches[0].plan
            finish_table(
                table,
                plan,
                read_results(table, plan, [batch.number for batch in self.batches]),
                self.limits,
                lambda: self.lake.clock.moment,
                read=self.lake.read,
                merge=self.lake.state.merge_late,
            )


class World:
    """One seed."""

    def __init__(self, seed: int) -> None:
        self.lake = ConvertLake()
        self.lake.create()
        self.steps = Steps(seed, self.lake.glue)
        self.random = self.steps.random
        self.faults: Counter[str] = Counter()
        self.changes: set[tuple[str, int]] = set()
        self.tolerant = True
        self._files: dict[str, list[tuple[str, int, int, str]]] = {}
        self._known: set[tuple[str, int]] = set()
        self._version = ""
        self.arriving = list(self._make_objects())
        self.steps.faults = self._fault
        self.lake.s3.on_call = self.lake.glue.on_call = self.steps.on_call

    # -- what there is ---------------------------------------------------------------------------------------------

    def _make_objects(self) -> Iterator[tuple[str, str, list[Change]]]:
        """Yield day, name and changes of raw objects: changes of three days, in objects of these days and of others."""
        pick, start = self.random, self.lake.now - 2 * DAY_MS
        times = sorted(pick.sample(range(3 * 24), pick.randint(3, 8)))
        changes = [Change(pick.choice("abc"), n + 1, start + at * HOUR) for n, at in enumerate(times)]
        for number in range(pick.randint(3, 7)):
            some = pick.sample(changes, pick.randint(0, min(3, len(changes))))
            newest = max((c.time for c in some), default=start)
            days = (newest - start) // DAY_MS
            if pick.random() < 0.4:
                days = pick.randint(0, 2)
            elif pick.random() < 0.3:
                days = min(2, days + 1)
            yield self.lake.names.lake.day_of(_moment(start + days * DAY_MS)), f"o{number}", some

    def arrive(self) -> None:
        day, name, changes = self.arriving.pop(0)
        lines: list[Change | str] = list(changes)
        if self.random.random() < 0.2:
            lines.append('{"__operation":"CANARY","__canary_id":"x"}')
        self.lake.put(day, name, lines)
        self.changes |= {(c.id, c.sequence) for c in changes}

    # -- what happens ----------------------------------------------------------------------------------------------

    def start(self, run: Run | None = None) -> None:
        limits = ConvertLimits(batch_objects=self.random.choice([1, 2, 9]), batches=self.random.choice([2, 50]))
        days = (self.lake.day(self.random.randint(0, 2)),) if self.random.random() < 0.1 else ()
        run = run or Run(self.lake, limits, days)
        worker = self.steps.start("convert", run.go)
        worker.returned = run

    def _fault(self, worker: Worker) -> str:
        if not self.tolerant or self.random.random() > 0.15:
            return ""
        return self.random.choice([LOSE, DROP, LATE, THROTTLE])

    def play(self) -> None:
        """Play everything concurrently."""
        pick = self.random
        for _ in range(STEPS):
            chance = pick.random()
            awake = [w for w in self.steps.workers if w.asleep_until <= self.lake.clock.now]
            if self.arriving and chance < 0.04:
                self.arrive()
            elif chance < 0.06 and len(awake) < AT_ONCE:
                self.start()
            elif chance < 0.066:
                self.steps.start("other", pick.choice([self.optimize, self.compact, self.mark, self.collect]))
            elif chance < 0.07 and self.lake.glue.late:
                land(self.lake.glue, pick.randrange(len(self.lake.glue.late)))
            elif chance < 0.072:
                self.lake.clock.move(seconds=pick.choice([60, 3600, 86400]))
            elif awake:
                worker = pick.choice(awake)
                if chance > 0.985:
                    self.interrupt(worker)
                else:
                    self.steps.advance(worker)
            self.judge()
        for worker in list(self.steps.workers):
            self.steps.kill(worker)

    def interrupt(self, worker: Worker) -> None:
        """Kill a worker, or freeze it, which Airflow cannot tell apart; its run may be tried again."""
        run = worker.returned
        if self.random.random() < 0.6:
            self.steps.kill(worker)
        else:
            worker.asleep_until = self.lake.clock.now + self.random.choice([30, 7200, 10 * 86400])
        if isinstance(run, Run) and self.random.random() < 0.6:
            self.start(run)

    def settle(self) -> None:
        """Let pending calls land or be refused; then play one run after the other, without faults."""
        self.tolerant = False
        while self.lake.glue.late:
            land(self.lake.glue)
            self.judge()
        while self.arriving:
            self.arrive()
        for _ in range(8):
            run = Run(self.lake, ConvertLimits(batch_objects=self.random.choice([1, 9])))
            run.go()
            self.judge()
            if not run.batches:
                break
        else:
            self.faults["never quiet"] += 1
        rows = Counter((id, number) for rows in self._live_rows() for id, number, _, _ in rows)
        if set(rows) != self.changes:
            self.faults["lost" if self.changes - set(rows) else "made up"] += 1

    # -- others ----------------------------------------------------------------------------------------------------

    def _commit(self, build: Callable[[Table, Head], Commit | None]) -> None:
        table = self.lake.other()
        head = table.changes()
        change = build(table, head)
        if change is None:
            return
        try:
            table.catalog.commit(head, change)
        except (Refused, DynalakeError):
            pass

    def _some_day(self, head: Head) -> list[DataFile]:
        files = head.files()
        day = self.random.choice(sorted({f.partition for f in files}) or [""])
        return [f for f in files if f.partition == day]

    def optimize(self) -> None:
        """Rewrite some files of a day into one without a manifest, as another engine does."""

        def build(table: Table, head: Head) -> Commit | None:
            files = self._some_day(head)
            if len(files) < 2:
                return None
            some = self.random.sample(files, self.random.randint(2, len(files)))
            path = f"{self.lake.names.changes_location}/data/dt={some[0].partition}/{new_folder()}.parquet"
            new = self._rewrite(table, head, some, path)
            return Commit((new,) if new.rows else (), tuple(some))

        self._commit(build)

    def compact(self) -> None:
        """Merge all files of a day into one, in a folder that names all their inputs."""

        def build(table: Table, head: Head) -> Commit | None:
            files = self._some_day(head)
            if len(files) < 2:
                return None
            folder, day = new_folder(), files[0].partition
            new = self._rewrite(table, head, files, f"{self.lake.names.change_folder(day, folder)}part.parquet")
            manifests = read_manifests(table, {f.folder for f in files})
            inputs = {i for m in manifests.values() if m is not None for i in m.inputs}
            part = Part(new.path, new.size, new.rows)
            write_manifest(table, FolderManifest(folder, day, self.lake.now, tuple(sorted(inputs)), (part,)))
            return Commit((new,), tuple(files))

        self._commit(build)

    def _rewrite(self, table: Table, head: Head, files: list[DataFile], key: str) -> DataFile:
        schema = file_schema(head.schema)
        rows: list[Any] = []
        for file in files:
            where = file.path.removeprefix(table.names.uri(""))
            rows += pq.read_table(
                io.BytesIO(table.clients.s3.get_object(Bucket=table.names.lake.bucket, Key=where)["Body"].read())
            ).to_pylist()
        body = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows, schema), body, store_schema=False)
        table.clients.s3.put_object(Bucket=table.names.lake.bucket, Key=key, Body=body.getvalue())
        size = len(body.getvalue())
        return head.data_file(table.names.uri(key), files[0].partition, pq.read_metadata(body), size, head.schema)

    def mark(self) -> None:
        """Set a fold's marker: from here on, changes made up to now reach the state first."""
        bound = self.lake.now - 2 * DAY_MS + self.random.randint(0, 3 * 24) * HOUR + 1
        self._commit(
            lambda table, head: Commit(properties={BOUND: str(bound)}) if bound > int(head.properties[BOUND]) else None
        )

    def collect(self) -> None:
        """Delete unreferenced files older than the grace, once the table has a new version."""
        before = self.lake.clock.now - GRACE.total_seconds()
        prefix = f"{self.lake.names.changes_location}/dt="
        listed = [
            key for key, stored in self.lake.s3.objects.items() if key.startswith(prefix) and stored.modified < before
        ]
        if not listed:
            return
        self._commit(lambda table, head: Commit(properties={COLLECTED_AT: str(self.lake.now)}))
        table = self.lake.other()
        head = table.changes()
        if head.properties.get(COLLECTED_AT) != str(self.lake.now):
            return
        live = {f.path.removeprefix(table.names.uri("")) for f in head.files()}
        for key in set(listed) - live:
            table.clients.s3.delete_object(Bucket=table.names.lake.bucket, Key=key)

    # -- what must hold --------------------------------------------------------------------------------------------

    def judge(self) -> None:
        """Check the table if somebody has committed to it."""
        version = self.lake.glue.tables[self.lake.names.changes_table]["VersionId"]
        if version == self._version:
            return
        self._version = version
        head = self.lake.table.changes()
        rows = Counter((id, number) for rows in self._live_rows(head) for id, number, _, _ in rows)
        if any(count > 1 for count in rows.values()):
            self.faults["twice"] += 1
        bound = int(head.properties[BOUND])
        for file in head.files():
            for id, number, time, day in self._rows_of(file):
                if day < self.lake.names.lake.day_of(_moment(time - DAY_MS)):
                    self.faults["in too early a day"] += 1
                new = (id, number) not in self._known  # others only move
                if new and time <= bound and (id, number) not in self.lake.state.merged:
                    self.faults["late, and not in the state"] += 1
        self._known |= set(rows)

    def _live_rows(self, head: Head | None = None) -> Iterator[list[tuple[str, int, int, str]]]:
        for file in (head or self.lake.table.changes()).files():
            yield self._rows_of(file)

    def _rows_of(self, file: DataFile) -> list[tuple[str, int, int, str]]:
        if file.path not in self._files:
            stored = self.lake.s3.objects.get(file.path.removeprefix(self.lake.names.uri("")))
            if stored is None:
                self.faults["live file missing"] += 1
                return []
            rows = pq.read_table(io.BytesIO(stored.body)).to_pylist()
            self._files[file.path] = [(r["id"], int(r[SEQUENCE_NUMBER]), r[EVENT_TIME], r["dt"]) for r in rows]
        return self._files[file.path]


def _moment(time: int) -> Any:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(time / 1000, UTC)


def play(seed: int) -> World:
    """Play a seed from beginning to end; its `faults` are empty if every rule held."""
    world = World(seed)
    world.play()
    world.settle()
    return world
