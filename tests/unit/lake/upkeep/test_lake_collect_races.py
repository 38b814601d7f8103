"""Collections among conversions, compactions and others: kills anywhere, late calls, runs that outlast the grace.

A seed decides the order of all calls to S3 and Glue, and when the clock moves. `DYNALAKE_SEEDS`: how many seeds.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import pytest

from dynalake.errors import DynalakeError
from dynalake.lake.catalog.commit import check_age, check_live, commit_on
from dynalake.lake.catalog.iceberg import Change, Head, IcebergCatalog, News
from dynalake.lake.catalog.table import Table
from dynalake.lake.files.folders import FolderManifest, Part, new_folder, write_manifest
from dynalake.lake.upkeep import collect as collecting
from dynalake.lake.upkeep.collect import collect
from tests.support.memory.aws import memory_clients
from tests.support.memory.flat_lake import MemoryLake, put_file, use_clock
from tests.support.memory.steps import DROP, LATE, LOSE, Steps, Worker, land, use_seed

pytestmark = pytest.mark.slow

SEEDS = int(os.environ.get("DYNALAKE_SEEDS", "4"))
DAYS = ("20240101", "20240102", "20240103")
NIGHTS = 28


class Faults(Exception):
    """Files that must exist and are missing."""


class World:
    """One table and everything that works on it."""

    def __init__(self, seed: int, patch: pytest.MonkeyPatch) -> None:
        use_seed(patch, seed)
        self.random = random.Random(seed)
        self.lake = MemoryLake()
        use_clock(patch, self.lake.clock)
        self.lake.create()
        self.lake.append(DAYS[0], "first")
        self.lake.glue.create_table(DatabaseName="d", TableInput={"Name": self.lake.names.parquet_table})
        self.steps = Steps(seed, self.lake.glue)
        self.steps.faults = self.fault
        self.lake.s3.on_call = self.lake.glue.on_call = self.on_call
        self.now = 0
        self.named: dict[str, frozenset[str]] = {}
        self.current: dict[str, list[tuple[float, str]]] = {}
        self.committed = self.deleted = 0

    # -- the workers ---------------------------------------------------------------------------------------------------

    def process(self) -> Table:
        return Table(memory_clients(self.lake.s3, self.lake.glue), self.lake.names)

    def milliseconds(self) -> int:
        return self.lake.milliseconds

    def convert(self) -> None:
        """Write a folder, then commit it."""
        table = self.process()
        day = self.random.choice(DAYS)
        made_at = self.milliseconds()
        folder = new_folder()
        head = table.changes()
        key = f"{table.names.change_folder(day, folder)}part-00000.parquet"
        file = put_file(table, head, key, day, [{"id": folder, "__event_time": made_at}], "dt")
        parts = (Part(file.path, file.size, file.rows),)
        write_manifest(table, FolderManifest(folder, day, made_at, (), parts))
        head = table.changes()  # as a task of its own does

        def build(now: Head, news: News) -> Change:
            check_age(now, made_at, self.milliseconds())
            return Change(add=(file,))

        commit_on(table.catalog, table.names, head, build, pause=lambda _: None)
        self.committed += 1

    def compact(self) -> None:
        """Replace a day's files by one, and point the partition to it."""
        table = self.process()
        day = self.random.choice(DAYS)
        made_at = self.milliseconds()
        head = table.changes()
        old = head.files({day})
        if not old:
            return
        folder = new_folder()
        key = f"{table.names.change_folder(day, folder)}part-00000.parquet"
        file = put_file(table, head, key, day, [{"id": folder, "__event_time": made_at}], "dt")
        parts = (Part(file.path, file.size, file.rows),)
        write_manifest(table, FolderManifest(folder, day, made_at, (), parts))

        def build(now: Head, news: News) -> Change:
            check_age(now, made_at, self.milliseconds())
            check_live(now, old, news)
            return Change((file,), old)

        commit_on(table.catalog, table.names, head, build, pause=lambda _: None)
        self.committed += 1
        self.project(table, day)

    def project(self, table: Table, day: str) -> None:
        """Point the day's partition to its one folder; read again afterwards, since partitions have no version."""
        for _ in range(2):
            folders = {f.path.rpartition("/")[0] for f in table.changes().files({day})}
            if len(folders) != 1:
                return
            self.on_call("glue", "update_partition", {})
            others = [p for p in self.partitions if p["Values"] != [day]]
            location = folders.pop()
            exists = str(bool(self.lake.s3.keys(f"{location.removeprefix(self.lake.names.uri(''))}/")))
            self.lake.glue.partitions[table.names.parquet_table] = [
                *others,
                {"Values": [day], "StorageDescriptor": {"Location": location}, "Parameters": {"there": exists}},
            ]

    @property
    def partitions(self) -> list[dict[str, Any]]:
        return self.lake.glue.partitions.get(self.lake.names.parquet_table, [])

    def collect(self) -> None:
        done = collect(self.process(), lambda: self.lake.clock.moment, pause=lambda _: None)
        self.deleted += done.deleted

    # -- the order -----------------------------------------------------------------------------------------------------

    def on_call(self, service: str, call: str, request: dict[str, Any]) -> None:
        own = call == "put_object" and request["Key"].endswith((".avro", ".metadata.json"))  # nobody reads them yet
        if call not in ("get_object", "head_object", "get_database") and not own:
            self.steps.on_call(service, call, request)

    def fault(self, worker: Worker) -> str:
        if self.random.random() < (0.3 if worker.name == "write" else 0.05):
            return self.random.choice([LOSE, DROP, LATE, LATE])
        return ""

    def run(self) -> None:
        """Play day by day a few writers and a collection, one call after the other; then begin the next day."""
        busy = self.random.choice([0.3, 1.5])  # writers a day
        for _ in range(NIGHTS):
            if self.random.random() < 0.9:
                self.steps.start("collect", self.collect)
            for _ in range(3):
                if self.random.random() < busy / 3:
                    self.steps.start("write", self.random.choice([self.convert, self.convert, self.compact]))
            while awake := [w for w in self.steps.workers if w.asleep_until <= self.lake.clock.now]:
                self.step(self.random.choice(awake))
            self.lake.clock.move(days=self.random.choice([0.6, 1, 1.01]))
        for worker in list(self.steps.workers):
            self.steps.kill(worker)

    def step(self, worker: Worker) -> None:
        luck = self.random.random()
        if luck < 0.008:
            self.steps.kill(worker)
        elif luck < (0.15 if worker.name == "write" else 0.03):
            days = self.random.choice([0.2, 2, 3, 9, 12])
            worker.asleep_until = self.lake.clock.now + days * 86400
        else:
            self.steps.advance(worker)
        self.lake.clock.move(seconds=self.random.choice([1, 60, 600]))
        if self.lake.glue.late and self.random.random() < 0.004:
            land(self.lake.glue, self.random.randrange(len(self.lake.glue.late)))
        self.judge()

    # -- what must hold ------------------------------------------------------------------------------------------------

    def judge(self) -> None:
        """Raise `Faults` if a file that is named, or was a day ago, is missing."""
        keys = self.lake.s3.objects.keys()
        for table in (self.lake.names.changes_table, self.lake.names.state_table):
            location = self.lake.glue.tables[table]["Parameters"]["metadata_location"]
            locations = self.current.setdefault(table, [])
            now = self.lake.clock.now
            if not locations or locations[-1][1] != location:
                locations[-1:] = [(now, locations[-1][1])] if locations else []
                locations.append((now, location))
            locations[-1] = (now, location)
            day_ago = now - 23 * 3600
            for at, read in locations:
                if at >= day_ago and not self.names(table, read) <= keys:
                    missing = sorted(self.names(table, read) - keys)
                    raise Faults(f"{missing[0]} of {table}, which was current {(now - at) / 3600:.0f} hours ago")
            self.current[table] = [(at, read) for at, read in locations if at >= day_ago]
        for partition in self.partitions:
            location = partition["StorageDescriptor"]["Location"].removeprefix(self.lake.names.uri(""))
            was_there = partition["Parameters"]["there"] == "True"  # unless the run that set it had outlasted all
            if was_there and not self.lake.s3.keys(f"{location}/"):
                raise Faults(f"the partition's folder {location}")

    def names(self, table: str, location: str) -> frozenset[str]:
        """Return the keys of all files named by any snapshot of this metadata."""
        if location not in self.named:
            try:
                named = self.read_names(table, location)
            except FileNotFoundError as error:
                raise Faults(f"{error} of {table}") from error
            keys = {path.removeprefix(self.lake.names.uri("")) for path in named}
            folders = {key.split("v=")[1].split("/")[0] for key in keys if "/v=" in key}
            manifests = {self.lake.names.folder_manifest(folder) for folder in folders}
            self.named[location] = frozenset(keys | manifests)
        return self.named[location]

    def read_names(self, table: str, location: str) -> set[str]:
        head = IcebergCatalog(self.process().clients, self.lake.names.lake).read(table, location)
        named: set[str] = {location}
        for snapshot in head.iceberg.metadata.snapshots:
            named.add(snapshot.manifest_list)
            for manifest in snapshot.manifests(head.iceberg.io):
                named.add(manifest.manifest_path)
                entries = manifest.fetch_manifest_entry(head.iceberg.io)
                named |= {e.data_file.file_path for e in entries}
        return named


def simulate(seed: int) -> World:
    with pytest.MonkeyPatch.context() as patch:
        world = World(seed, patch)
        world.run()
        return world


@pytest.mark.parametrize("seed", range(SEEDS))
def test_no_named_file_is_ever_missing(seed: int) -> None:
    world = simulate(seed)

    assert world.committed
    unexpected = [w.raised for w in world.steps.workers if w.raised and not isinstance(w.raised, DynalakeError)]
    assert not unexpected


def first_fault(seeds: Iterable[int]) -> int | None:
    """Return the first seed at which something is missing."""
    for seed in seeds:
        try:
            simulate(seed)
        except Faults:
            return seed
    return None


def without_age(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(collecting, "GRACE", timedelta(0))


def without_fence(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(collecting, "_renew", lambda *_: None)


def without_wait(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(collecting, "WAIT", -timedelta(days=1))


def without_age_of_commits(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(globals(), "check_age", lambda *_: None)


def without_partitions(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(collecting, "partitioned_tables", lambda names: ())


@pytest.mark.parametrize(
    ("leave_out", "first"),
    [
        (without_age, 25),
        (without_fence, 114),
        (without_wait, 0),
        (without_age_of_commits, 4),
        (without_partitions, 24),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_files_go_missing_without_any_one_rule(leave_out: Callable[[pytest.MonkeyPatch], None], first: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        leave_out(patch)

        assert first_fault(range(first, first + 60)) is not None
