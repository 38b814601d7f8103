"""The memory and disk that reading a batch takes, whatever its size. The batch is generated while it is read.

`BOUNDED_MB` (default 10,000) is the size of its JSON: once as one object, once as thousands of small ones. Other cases
that are hard on memory get part of it: items of 2,000 attributes, items of 400 KB, one item that changes all the time.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Self

import numpy as np

from benchmarks.harness import Benchmark, BenchmarkError, Column, Competitor, Row, nothing
from benchmarks.meter import MEGABYTE, Meter
from dynalake.aws.clients import Clients
from dynalake.convert.options import ReadOptions
from dynalake.convert.read.raw_batch import read_batch
from dynalake.lake.catalog.table import Table
from dynalake.lake.columns.schema import TableSchema
from dynalake.lake.files.folders import Input
from dynalake.names import Lake
from dynalake.record.change import encode_change
from infra.local.demo.receipts import KEY, Item, generate_receipts

MEGABYTES = int(os.environ.get("BOUNDED_MB", "10000"))
SMALL = 200_000
_ID, _SEQUENCE = 8, 12  # digits that differ from line to line


def receipts() -> Iterator[Item]:
    """Yield nested and uneven items."""
    return generate_receipts(2_000)


def wide() -> Iterator[Item]:
    """Yield items of 2,000 attributes, most of which each item has."""
    random = Random(2)
    for _ in range(40):
        yield {f"a{i:04d}": {"N": f"{random.randrange(10_000)}.5"} for i in range(2_000) if random.random() < 0.9}


def huge() -> Iterator[Item]:
    """Yield items of the maximum size."""
    random = Random(3)
    for _ in range(4):
        yield {"text": {"S": random.randbytes(199_000).hex()}}


class Template:
    """Lines in which each block gets new keys and sequence numbers; `hot`: only the latter."""

    def __init__(self, items: Iterable[Item], *, hot: bool = False) -> None:
        lines = [
            encode_change(
                {**item, "receiptId": {"S": "R-" + "#" * _ID}},
                operation="MODIFY",
                sequence_number="1" + "0" * _SEQUENCE,
                event_time=1_558_742_400_000,
            ).encode()
            for item in items
        ]
        starts = np.cumsum([0, *(len(line) + 1 for line in lines)])[:-1]
        self.lines = len(lines)
        self.text = np.frombuffer(b"\n".join(lines) + b"\n", np.uint8)
        self._keys = 1 if hot else 10**_ID
        ids = np.array([line.index(b"#" * _ID) for line in lines]) + starts
        sequences = np.array([line.index(b"1" + b"0" * _SEQUENCE) + 1 for line in lines]) + starts
        self._ids, self._sequences = ids[:, None] + np.arange(_ID), sequences[:, None] + np.arange(_SEQUENCE)

    def block(self, number: int) -> bytes:
        """Return block `number`: keys come again in other blocks, sequence numbers do not."""
        text = self.text.copy()
        keys = np.random.default_rng(number).integers(0, self._keys, self.lines)
        text[self._ids] = _digits(keys, _ID)
        text[self._sequences] = _digits(np.arange(number * self.lines, (number + 1) * self.lines), _SEQUENCE)
        return text.tobytes()


class Generated:
    """The reading part of S3: each object is some blocks, which its key names."""

    def __init__(self, template: Template) -> None:
        self._template = template

    def get_object(self, *, Bucket: str, Key: str, IfMatch: str) -> dict[str, Any]:
        first, count = map(int, Key.split("-"))
        return {"Body": _Body(self._template, first, count)}


class _Body:
    """A stream that is generated as it is read."""

    def __init__(self, template: Template, first: int, count: int) -> None:
        self._template, self._next, self._end = template, first, first + count
        self._rest = b""

    def read(self, amount: int = 1 << 62) -> bytes:
        while len(self._rest) < amount and self._next < self._end:
            self._rest += self._template.block(self._next)
            self._next += 1
        data, self._rest = self._rest[:amount], self._rest[amount:]
        return data

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._rest = b""


class DiskWatch:
    """Measures the maximum size of a folder."""

    def __init__(self, folder: Path) -> None:
        self.peak_mb = 0.0
        self._folder, self._ended = folder, threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def _sample(self) -> None:
        while not self._ended.wait(0.05):
            try:
                size = sum(path.stat().st_size for path in self._folder.rglob("*") if path.is_file())
            except FileNotFoundError:  # removed in the meantime
                continue
            self.peak_mb = max(self.peak_mb, size / MEGABYTE)

    def stop(self) -> float:
        self._ended.set()
        self._thread.join()
        return self.peak_mb


def convert(megabytes: float, scratch: Path, template: Template, *, small: bool, meter: Meter) -> Row:
    """Read a batch of this size, and get its rows in order."""
    store, block_size = Generated(template), len(template.text)
    blocks = max(1, round(megabytes * MEGABYTE / block_size))
    keys = [f"{i:08d}-1" for i in range(blocks)] if small else [f"00000000-{blocks}"]
    Random(1).shuffle(keys)
    objects = [Input(key, "etag", SMALL if small else blocks * block_size) for key in keys]
    clients, names = Clients(lambda service: store), Lake("bench", "123456789012", "us-east-1").table("RECEIPTS")
    rows = 0
    with tempfile.TemporaryDirectory(dir=scratch) as directory:
        disk = DiskWatch(Path(directory))
        with meter:
            batch = read_batch(
                Table(clients, names), objects, TableSchema.of_new_table(KEY), ReadOptions(), Path(directory)
            )
            for table in batch.tables():
                rows += table.num_rows
        spilled = disk.stop()
    if rows != blocks * template.lines or batch.rejected.lines:
        raise BenchmarkError(
            f"{rows:,} rows came out of {blocks * template.lines:,} lines, {batch.rejected.lines} were rejected"
        )
    return {"objects": len(keys), "rows": rows, "json_bytes": blocks * block_size, "disk_mb": spilled}


def competitor(
    make: Callable[[], Iterator[Item]], *, share: float = 1.0, small: bool = False, hot: bool = False
) -> Callable[[Meter, Path], Row]:
    def run(meter: Meter, scratch: Path) -> Row:
        template = Template(make(), hot=hot)
        return convert(MEGABYTES * share, scratch, template, small=small, meter=meter)

    return run


def _digits(values: Any, count: int) -> Any:
    return (values[:, None] // 10 ** np.arange(count - 1, -1, -1) % 10 + 48).astype(np.uint8)


BENCHMARK = Benchmark(
    name="bounded",
    title=f"bounded: one batch of {MEGABYTES:,} MB of JSON, memory_mb = {ReadOptions().memory_mb}",
    competitors=(
        Competitor("one object", competitor(receipts), rounds=1),
        Competitor("small objects", competitor(receipts, small=True), rounds=1),
        Competitor("2,000 attributes", competitor(wide, share=0.03), rounds=1),
        Competitor("items of 400 KB", competitor(huge, share=0.1), rounds=1),
        Competitor("one item", competitor(receipts, share=0.1, hot=True), rounds=1),
    ),
    columns=(
        Column("", lambda r: str(r["name"])),
        Column("JSON MB", lambda r: f"{r['json_bytes'] / MEGABYTE:,.0f}"),
        Column("objects", lambda r: f"{r['objects']:,}"),
        Column("rows", lambda r: f"{r['rows']:,}"),
        Column("wall s", lambda r: f"{r['wall_s']:.0f}"),
        Column("CPU s", lambda r: f"{r['cpu_s']:.0f}"),
        Column("peak MB", lambda r: f"{r['peak_mb']:,.0f}"),
        Column("disk MB", lambda r: f"{r['disk_mb']:,.0f}"),
    ),
    prepare=nothing,
    notes=("Peak: the maximum memory of the process. Disk: the maximum size of its work directory.",),
)
