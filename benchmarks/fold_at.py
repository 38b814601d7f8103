"""Which `fold_at` is right: 100 days of changes and folds, by dynalake's own planning, on files that are only numbers.

The state is a key range per file, as `plan_rewrites` sees it; `FoldOptions` says when a fold is due, each night. A day
changes 1 % of the items (`FOLD_AT_CHURN`): of a hundred changes 90 modify an item, 5 insert one and 5 remove one. The
keys are random, or recent: half of the modified items are among the newest 5 %, and new items come at the end, as with
keys that begin with a time.

A few changes a day arrive a day late, of random keys (`FOLD_AT_LATE`). One that happened at or before the last fold's
bound is merged at once, which writes its file again; any other is a change like the rest.

No file is written, so the sizes cost nothing: a state of 20 GB (`FOLD_AT_STATE_GB`) in files of 128 MB. Rows are 400 KB
instead of 100 bytes, which leaves the files and their ranges as they are and makes the run short.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyiceberg.manifest import DataFile as IcebergFile
from pyiceberg.schema import Schema

from benchmarks.harness import Benchmark, BenchmarkError, Column, Competitor, Row, nothing
from benchmarks.meter import Meter
from dynalake.lake.catalog.iceberg import DataFile
from dynalake.lake.current.fold import FoldOptions
from dynalake.lake.current.key_ranges import KeyFile, Keys, Sizes, plan_rewrites

DAYS = 100
STATE_GB = int(os.environ.get("FOLD_AT_STATE_GB", "20"))
CHURN = float(os.environ.get("FOLD_AT_CHURN", "0.01"))
LATE = int(os.environ.get("FOLD_AT_LATE", "10"))
"""Changes a day that arrive a day late."""
PERCENTS = (2, 5, 10, 20, 50)
ROW_BYTES, TOMBSTONE_BYTES = 400_000, 40_000
SIZES = Sizes()
GB = 1 << 30
QUERIES = 20
"""Queries of all items a day, in the sum of what a table costs."""


@dataclass
class Partition:
    """A partition of the state: all its keys in order, and its files. `written`: bytes so far."""

    row_bytes: int
    keys: Any
    files: list[KeyFile] = field(default_factory=list)
    written: int = 0

    @property
    def size(self) -> int:
        return sum(file.file.size for file in self.files)

    def write(self, keys: Any) -> list[KeyFile]:
        """Return new files of these keys, as many as a merge writes."""
        if not len(keys):
            return []
        count = -(-len(keys) * self.row_bytes // SIZES.file)
        files = []
        for part in np.array_split(keys, count):
            self.written += len(part) * self.row_bytes
            files.append(_file(part, self.row_bytes, self.written))
        return files

    def merge(self, come: Any, gone: Any, changed: Any) -> None:
        """Put the keys that `come` (new ones and modified ones), and remove the `gone`. `changed`: all of them."""
        starts = np.array([file.low[0] for file in self.files if file.low])
        held = changed[np.isin(changed, self.keys, assume_unique=True)]
        places = np.unique(np.searchsorted(starts, held, side="right") - 1)
        replaced = {self.files[place].file.path for place in places}
        keys = Keys(pa.table({"key": come}), ("key",))
        rewrites = plan_rewrites(self.files, replaced, keys, SIZES, self.row_bytes)
        self.keys = np.setdiff1d(np.union1d(self.keys, come), gone, assume_unique=True)
        taken = {file.file.path for rewrite in rewrites for file in rewrite.files}
        files = [file for file in self.files if file.file.path not in taken]
        for rewrite in rewrites:
            ends = [end for file in rewrite.files for end in (file.low, file.high) if end]
            ends += [keys.key(place) for start, end in rewrite.spans for place in (start, end - 1)]
            first, last = np.searchsorted(self.keys, min(ends)[0]), np.searchsorted(self.keys, max(ends)[0], "right")
            files += self.write(self.keys[first:last])
        self.files = sorted(files, key=lambda file: file.low or ())
        if sum(file.file.rows for file in self.files) != len(self.keys):
            raise BenchmarkError("The files do not hold each key of the state once")


def _file(keys: Any, row_bytes: int, name: int) -> KeyFile:
    made = IcebergFile.from_args(
        file_path=f"s3://bench/{name}.parquet", record_count=len(keys), file_size_in_bytes=len(keys) * row_bytes
    )
    return KeyFile(DataFile(made, Schema()), (int(keys[0]),), (int(keys[-1]),))


class Table:
    """A table's state, and the changes since the last fold."""

    def __init__(self, *, recent: bool) -> None:
        self._random = np.random.default_rng(7)
        self._recent = recent
        items = STATE_GB * GB // ROW_BYTES
        first = np.arange(items, dtype=np.int64) << 32 if recent else self._any_keys(items)
        self.live, self.removed = Partition(ROW_BYTES, first), Partition(TOMBSTONE_BYTES, first[:0])
        self.live.files = self.live.write(first)
        self.live.written = 0
        self.open = [first[:0]]
        self._items, self._per_day = first, round(items * CHURN)
        self._gone = first[:0]

    @property
    def size(self) -> int:
        return self.live.size + self.removed.size

    @property
    def written(self) -> int:
        return self.live.written + self.removed.written

    def _any_keys(self, count: int) -> Any:
        return np.unique(self._random.integers(0, 1 << 62, count, dtype=np.int64))

    def day(self) -> int:
        """Make a day's changes. Return their bytes."""
        count = self._per_day
        few = count // 20
        if self._recent:
            newest = len(self._items) // 20
            places = len(self._items) - 1 - self._random.integers(0, newest, count // 2)
            modified = np.concatenate([self._items[places], self._random.choice(self._items, count // 2 - 2 * few)])
            new = self._items[-1] + (np.arange(1, few + 1, dtype=np.int64) << 32)
        else:
            modified, new = self._random.choice(self._items, count - 2 * few), self._any_keys(few)
        gone = np.unique(self._random.choice(self._items, few))
        self._items = np.setdiff1d(np.union1d(self._items, new), gone)
        self._gone = np.union1d(self._gone, gone)
        self.open.append(np.concatenate([modified, new, gone]))
        return (len(modified) + len(new)) * ROW_BYTES + len(gone) * TOMBSTONE_BYTES

    def late(self) -> None:
        """Merge late changes of random keys."""
        self._merge(np.unique(self._random.choice(self.live.keys, LATE)))

    def fold(self) -> None:
        self._merge(np.unique(np.concatenate(self.open)))
        self.open = [self._items[:0]]

    def _merge(self, changed: Any) -> None:
        away = np.isin(changed, self._gone, assume_unique=True)
        self.live.merge(changed[~away], changed[away], changed)
        if away.any():
            self.removed.merge(np.setdiff1d(changed[away], self.removed.keys), self._items[:0], changed[away])


def simulate(percent: int, *, recent: bool) -> Callable[[Meter, Path], Row]:
    """Return a run of all days with this `fold_at`."""

    def run(meter: Meter, scratch: Path) -> Row:
        with meter:
            return _simulate(percent / 100, recent=recent)

    return run


def _simulate(fold_at: float, *, recent: bool) -> Row:
    table, options = Table(recent=recent), FoldOptions(fold_at)
    changed = folds = late = open_bytes = 0
    opens: list[int] = []
    for _ in range(DAYS):
        today = table.day()
        opens.append(open_bytes + today // 2)  # a query comes at any time of the day
        changed, open_bytes = changed + today, open_bytes + today
        if folds and len(table.open) == 2:  # the fold was last night: what happened before it comes too late
            before = table.written
            table.late()
            late += table.written - before
        if options.reason(open_bytes, table.size, 0):
            table.fold()
            folds, open_bytes = folds + 1, 0
    return {
        "folds": folds,
        "changed_bytes": changed,
        "written_bytes": table.written,
        "late_bytes": late,
        "open_bytes": sum(opens) // DAYS,
        "most_open_bytes": max(opens),
        "state_bytes": table.size,
        "files": len(table.live.files) + len(table.removed.files),
    }


def derive(rows: list[Row]) -> None:
    """Add bytes written per byte of change, the share of the open part, and the bytes of a day."""
    for row in rows:
        row["amplification"] = round(row["written_bytes"] / row["changed_bytes"], 2)
        row["late_amplification"] = round(row["late_bytes"] / row["changed_bytes"], 2)
        row["open_percent"] = round(100 * row["open_bytes"] / row["state_bytes"], 2)
        row["most_open_percent"] = round(100 * row["most_open_bytes"] / row["state_bytes"], 2)
        # A fold reads what it writes again; a query reads the open part twice (`current_sql`).
        row["day_bytes"] = round(2 * row["written_bytes"] / DAYS + 2 * QUERIES * row["open_bytes"])


BENCHMARK = Benchmark(
    name="fold_at",
    title=f"fold_at: {DAYS} days, a state of {STATE_GB} GB, {CHURN:.1%} of the items change each day, {LATE} come late",
    competitors=[
        Competitor(f"{percent} %, {'recent' if recent else 'random'} keys", simulate(percent, recent=recent), rounds=1)
        for recent in (False, True)
        for percent in PERCENTS
    ],
    columns=(
        Column("", lambda r: str(r["name"])),
        Column("folds", lambda r: f"{r['folds']:,}"),
        Column("written per byte of change", lambda r: f"{r['amplification']:.1f}"),
        Column("of these for late ones", lambda r: f"{r['late_amplification']:.1f}"),
        Column("open part", lambda r: f"{r['open_percent']:.1f} %"),
        Column("at most", lambda r: f"{r['most_open_percent']:.1f} %"),
        Column(f"GB a day with {QUERIES} queries", lambda r: f"{r['day_bytes'] / GB:,.0f}"),
        Column("files", lambda r: f"{r['files']:,}"),
    ),
    prepare=nothing,
    derive=derive,
    notes=(
        "The open part is what a query of `_current` reads in addition to the state, as a share of it. GB a day: read",
        f"and written by folds, and read of the open part by {QUERIES} queries of all items, twice by each.",
    ),
)
