"""The scrub: everything that the lake has of a table is compared, day by day, and faults are reported.

Everyday work compares the last days and what has changed. The scrub finds what was missed, lost or damaged further
back, weekly or on request. It reports a day with raw objects that are not converted, and the next conversion takes
them. It changes nothing else, and never gives rows up because their raw objects are gone.

Memory does not grow with the rows, nor with the raw objects: only places and sizes of the live files are held.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from dynalake.aws.answers import tolerate
from dynalake.aws.s3 import Store
from dynalake.days import SNAPSHOT_DAY, milliseconds, shift_day
from dynalake.lake.catalog.file_io import split_uri
from dynalake.lake.catalog.iceberg import DataFile, Head, folder_of
from dynalake.lake.catalog.table import HISTORY_FROM, Table
from dynalake.lake.compaction.compact_options import CompactOptions
from dynalake.lake.files.raw_days import RawDay, is_day, list_raw_days, read_raw_day
from dynalake.lake.files.references import stream_files
from dynalake.lake.hive.hive import Partition, list_partitions
from dynalake.lake.hive.parquet_table import DayFolder, folders_of
from dynalake.lake.upkeep.retention import Retained, read_retained
from dynalake.lake.upkeep.scrub_tables import scrub_tables
from dynalake.lake.working.findings import Finding

SETTLED = timedelta(days=1)
"""Age of a raw object by which it should have been converted."""

_AHEAD = 8  # days that are compared at the same time
_SHOWN = 3  # keys that a finding names


class LiveFile(NamedTuple):
    """Address and bytes of a live file."""

    path: str
    size: int


@dataclass(frozen=True)
class Scrubbed:
    """The comparisons and findings of a scrub. `told`: the days that were reported to the next conversion."""

    table: str
    at: int = 0
    days: int = 0
    objects: int = 0
    files: int = 0
    told: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """Number of findings of each kind, for other tasks."""
        counts: dict[str, int] = defaultdict(int)
        for finding in self.findings:
            counts[finding.kind] += 1
        return dict(counts)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "findings": [f.to_dict() for f in self.findings]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Scrubbed:
        findings = tuple(Finding.from_dict(f) for f in values["findings"])
        return cls(**{**values, "told": tuple(values["told"]), "findings": findings})


@dataclass(frozen=True)
class ScrubDay:
    """A day: its raw objects and manifests, its live files, their sizes in S3 (path → bytes), the folder that
    `{t}_parquet` should show, and its partition there.
    """

    raw: RawDay
    live: tuple[LiveFile, ...] = ()
    stored: Mapping[str, int] = field(default_factory=dict)
    folder: DayFolder | None = None
    partition: Partition | None = None

    @property
    def day(self) -> str:
        return self.raw.day


@dataclass(frozen=True)
class ScrubRules:
    """Rules for judging days. `settled`: raw objects that were written before (milliseconds) should be converted.

    `projected_to`: the days up to this one should be in `{t}_parquet` as they are.
    """

    table: str
    history_from: str
    retained: Retained
    settled: int
    projected_to: str


def judge_day(found: ScrubDay, rules: ScrubRules) -> tuple[Finding, ...]:
    """Return what is wrong with a day."""
    return tuple(
        Finding(kind, rules.table, what, plan, found.day, count) for kind, what, plan, count in _judge(found, rules)
    )


def tells(found: ScrubDay, rules: ScrubRules) -> bool:
    """Return whether the next conversion has to list a day: it has objects that are not converted."""
    return bool(_unconverted(found.raw, rules))


def _unconverted(raw: RawDay, rules: ScrubRules) -> list[str]:
    """Return keys of a day that a conversion should have taken. Each of the snapshot's backfills brings its own."""
    if raw.day == SNAPSHOT_DAY or raw.day < rules.history_from:
        return []
    return sorted(o.key for o in raw.unnamed if o.modified < rules.settled)


def _judge(day: ScrubDay, rules: ScrubRules) -> Iterator[tuple[str, str, str, int]]:
    raw = day.raw
    unconverted = _unconverted(raw, rules)
    if new := [key for key in unconverted if key not in raw.named]:
        plan = "the day is reported: the next dynalake_convert converts them"
        yield "unconverted", f"No live row was made from {_some(new)}", plan, len(new)
    if changed := [key for key in unconverted if key in raw.named]:
        plan = "the day is reported: the next dynalake_convert adds what is new in them; rows of the old bytes stay"
        yield "changed-raw", f"Live rows were made from other bytes than those of {_some(changed)}", plan, len(changed)
    if raw.gone and not rules.retained.allows(raw.day) and raw.day >= rules.history_from:
        plan = "nothing: their rows stay; find out who deleted them, and restore them (the bucket keeps versions)"
        yield (
            "raw-gone",
            f"{_some(raw.gone)} no longer exist, and live rows were made from them",
            plan,
            len(raw.gone),
        )
    if folders := raw.without_manifest:
        plan = (
            "their raw objects are converted again, and each change is kept once; compaction gives the day a new folder"
        )
        yield "no-manifest", f"The manifests of the folders {_some(folders)} are missing", plan, len(folders)
    if foreign := [f.path for f in day.live if not folder_of(f.path)]:
        plan = "the next dynalake_compact rewrites the day into a folder"
        yield "foreign-files", f"Another engine has written {_some(foreign)}", plan, len(foreign)
    if missing := [f.path for f in day.live if f.path not in day.stored]:
        plan = "restore them (the bucket keeps versions) before their day is compacted; readers of the day fail"
        yield "missing-files", f"{_some(missing)} do not exist, and the table names them", plan, len(missing)
    if other := [f.path for f in day.live if day.stored.get(f.path, f.size) != f.size]:
        plan = "restore the version that was committed; readers of the day fail, or read other data"
        yield "changed-files", f"{_some(other)} have another size than when they were committed", plan, len(other)
    yield from _judge_partition(day, rules)


def _judge_partition(day: ScrubDay, rules: ScrubRules) -> Iterator[tuple[str, str, str, int]]:
    if day.day > rules.projected_to:
        return
    folder, partition = day.folder, day.partition
    plan = "the next dynalake_compact writes the partition"
    below = [path for path in day.stored if folder and path.startswith(folder.partition.location)]
    whole = folder is not None and frozenset(below) == folder.files
    if folder is not None and not whole:
        what = f"The folder {folder.partition.location} has other files than the table names"
        yield "torn-folder", what, "readers of `_parquet` do not see the day until it is compacted again", 1
    elif folder is not None and partition is None:
        yield "no-partition", "The day is compacted, and `_parquet` has no partition for it", plan, 1
    elif folder is not None and not folder.partition.same(partition):
        yield "other-partition", "The partition in `_parquet` does not match the table of changes", plan, 1
    elif folder is None and partition is not None:
        yield "other-partition", "`_parquet` shows a day that is no longer one whole folder", plan, 1


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


# -- the edge ----------------------------------------------------------------------------------------------------------


def scrub(
    table: Table,
    clock: Callable[[], datetime],
    options: CompactOptions | None = None,
    *,
    days: Collection[str] = (),
    compared_days: int = 7,
) -> Scrubbed:
    """Compare everything of a table, report days that have to be converted, and keep the report in the lake.

    `days`: only these, and nothing of the tables as such. `compared_days`: days, chosen by chance, whose rows are
    searched for changes that stand in the table twice. Raises `CatalogError` where a table is missing.
    """
    names = table.names
    started = clock()
    now = table.store.clock(started)
    head = table.changes()
    rules = ScrubRules(
        names.table,
        head.properties.get(HISTORY_FROM) or "",
        read_retained(table),
        milliseconds(now - SETTLED),
        shift_day(names.lake.day_of(now), -3),
    )
    live = _live_files(head)
    chosen = sorted(days or {*live, *list_raw_days(table)})
    folders = folders_of(table, head, options or CompactOptions(), started)
    partitions = _partitions(table)
    findings: list[Finding] = []
    reported: list[str] = []
    objects = 0
    for compared in _read_days(table, chosen, live, folders, partitions):
        findings += judge_day(compared, rules)
        objects += len(compared.raw.objects)
        if tells(compared, rules):
            table.store.write(names.reported_day(compared.day), b"")
            reported.append(compared.day)
    if not days:
        findings += scrub_tables(table, head, table.items(), started, compared_days)
    files = sum(len(live.get(day, ())) for day in chosen)
    done = Scrubbed(names.table, milliseconds(started), len(chosen), objects, files, tuple(reported), tuple(findings))
    table.store.write_json(names.scrub_report, done.to_dict())
    return done


def read_scrub(table: Table) -> Scrubbed | None:
    """Return the report of the last scrub; None where there was none."""
    report = table.store.read_json(table.names.scrub_report)
    return None if report is None else Scrubbed.from_dict(report.value)


def _live_files(head: Head) -> dict[str, tuple[LiveFile, ...]]:
    by_day: dict[str, list[LiveFile]] = defaultdict(list)
    file: DataFile
    for file in stream_files(head):
        by_day[file.partition].append(LiveFile(file.path, file.size))
    return {day: tuple(files) for day, files in by_day.items()}


def _partitions(table: Table) -> dict[str, Partition]:
    with tolerate("EntityNotFoundException"):
        return list_partitions(table, table.names.parquet_table)
    return {}


def _read_days(
    table: Table,
    days: Iterable[str],
    live: Mapping[str, tuple[LiveFile, ...]],
    folders: Mapping[str, DayFolder],
    partitions: Mapping[str, Partition],
) -> Iterator[ScrubDay]:
    """Yield all that exists of each day, some days read ahead."""

    def read_day(day: str) -> ScrubDay:
        files = live.get(day, ())
        raw = read_raw_day(table, day, {folder for f in files if (folder := folder_of(f.path))})
        return ScrubDay(raw, files, _stored(table, day, files), folders.get(day), partitions.get(day))

    with ThreadPoolExecutor(_AHEAD) as pool:
        ahead: deque[Future[ScrubDay]] = deque()
        for day in days:
            if not is_day(day):
                continue
            ahead.append(pool.submit(read_day, day))
            if len(ahead) == _AHEAD:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _stored(table: Table, day: str, files: Iterable[LiveFile]) -> dict[str, int]:
    """Return what S3 has below the day's folders, and of live files elsewhere: address → bytes."""
    names = table.names
    prefix = f"{names.changes_location}/dt={day}/"
    sizes = {names.uri(o.key): o.size for o in table.store.list(prefix)}
    for file in files:
        if not file.path.startswith(names.uri(prefix)):
            bucket, key = split_uri(file.path)
            stored = Store(table.clients, bucket).head(key)
            if stored is not None:
                sizes[file.path] = stored.size
    return sizes
