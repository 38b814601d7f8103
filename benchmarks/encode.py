"""DynamoDB items → change records → gzipped JSON Lines on one core, and boto3's TypeDeserializer + json + gzip.

The items are RECEIPTS as the low-level boto3 client returns them: as a scan reads them, and (but for base64) as a
Lambda function receives them. Reading them is not measured. Every competitor gets the same pages of 1,500 items, about
1 MB, as a scan returns them, and writes the same way: text in, gzip out, into a file.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from boto3.dynamodb.types import Binary, TypeDeserializer

from benchmarks.hard_numbers import hard_numbers, kept, number_text
from benchmarks.harness import HARD_NUMBERS, Benchmark, BenchmarkError, Column, Competitor, Row
from benchmarks.meter import MEGABYTE, Meter
from dynalake.backfill.segment.parts import LEVEL, Part
from dynalake.record.change import SNAPSHOT_SEQUENCE, snapshot_encoder
from infra.local.demo.receipts import generate_receipts

ITEMS = 60_000
PAGE = 1_500
READ_AT_MS = 1_558_742_400_000
_BYTES = "bytes in base64"

Item = Mapping[str, Any]


@contextmanager
def prepare(scratch: Path) -> Iterator[Mapping[str, str]]:
    """Write the items as pages of JSON text, one a line."""
    page: list[Item] = []
    with (scratch / "pages.jsonl").open("w") as pages:
        for item in generate_receipts(ITEMS):
            page.append(item)
            if len(page) == PAGE:
                pages.write(json.dumps(page, default=_mark_bytes) + "\n")
                page = []
    yield {}


def read_pages(scratch: Path) -> Iterator[list[Item]]:
    """Yield the items page by page, binary as bytes."""
    with (scratch / "pages.jsonl").open() as pages:
        for line in pages:
            yield json.loads(line, object_hook=_read_bytes)


def dynalake(meter: Meter, scratch: Path) -> Row:
    """Run the scan's own path: `snapshot_encoder` into a `Part`."""
    size = 0
    encode = snapshot_encoder(READ_AT_MS)
    with Part() as part:
        for page in read_pages(scratch):
            size += sum(dynamodb_json_size(item) for item in page)
            with meter:
                for item in page:
                    part.add(encode(item))
        with meter:
            part.close()
        meter.mark_peak()
        _check_count(gzip.GzipFile(fileobj=part.file))
        return {
            "items": ITEMS,
            "input_bytes": size,
            "output_bytes": part.size,
            **kept_by(lambda item: encode(item).decode()),
        }


def by_hand(default: Callable[[Any], Any], level: int) -> Callable[[Meter, Path], Row]:
    """Return a run of the usual hand-written code: deserialize, dump, compress."""
    deserialize = TypeDeserializer().deserialize

    def line(item: Item) -> str:
        record = {name: deserialize(value) for name, value in item.items()}
        record["__operation"] = "SNAPSHOT"
        record["__sequence_number"] = SNAPSHOT_SEQUENCE
        record["__event_time"] = READ_AT_MS
        return json.dumps(record, default=default)

    def run(meter: Meter, scratch: Path) -> Row:
        size = 0
        output = scratch / "peer.json.gz"
        with gzip.open(output, "wt", compresslevel=level) as file:
            for page in read_pages(scratch):
                size += sum(dynamodb_json_size(item) for item in page)
                with meter:
                    for item in page:
                        file.write(line(item) + "\n")
            with meter:
                file.close()
        meter.mark_peak()
        _check_count(gzip.GzipFile(output))
        return {"items": ITEMS, "input_bytes": size, "output_bytes": output.stat().st_size, **kept_by(line)}

    return run


def as_float(value: Any) -> Any:
    """Return a value for `json.dumps(default=…)` as most code does: numbers as floats."""
    return float(value) if isinstance(value, Decimal) else _set_or_binary(value)


def as_str(value: Any) -> Any:
    """Return a value for `json.dumps(default=…)` as careful code does: numbers as text."""
    return str(value) if isinstance(value, Decimal) else _set_or_binary(value)


def kept_by(encode: Callable[[Item], str]) -> dict[str, int]:
    """Return the counts of the hard numbers by outcome."""
    numbers = hard_numbers()
    texts = []
    for number in numbers:
        try:
            line = encode({"n": {"N": number}})
        except ArithmeticError:  # boto3's decimal context traps what it cannot hold
            texts.append("")
        else:
            texts.append(number_text(line))
    return kept(numbers, texts)


def dynamodb_json_size(item: Item) -> int:
    """Return the item's size in bytes as compact DynamoDB-JSON text."""
    return len(json.dumps(item, separators=(",", ":"), ensure_ascii=False, default=_base64).encode())


def derive(rows: list[Row]) -> None:
    """Add rates, and the items per CPU second relative to the first peer's."""
    for row in rows:
        row["items_per_cpu_s"] = round(row["items"] / row["cpu_s"])
        row["input_mb_per_cpu_s"] = round(row["input_bytes"] / row["cpu_s"] / MEGABYTE, 2)
    for row in rows:
        row["times_first_peer"] = round(row["items_per_cpu_s"] / rows[1]["items_per_cpu_s"], 2)


BENCHMARK = Benchmark(
    name="encode",
    title=f"encode: {ITEMS:,} RECEIPTS as attribute values → change records → gz JSON Lines, one core",
    competitors=(
        Competitor("dynalake", dynalake),
        Competitor("boto3 + json(default=float) + gzip", by_hand(as_float, level=9)),
        Competitor(f"the same with gzip level {LEVEL}", by_hand(as_float, level=LEVEL)),
        Competitor("boto3 + json(default=str) + gzip", by_hand(as_str, level=9)),
    ),
    columns=(
        Column("", lambda r: str(r["name"])),
        Column("items/s", lambda r: f"{r['items_per_cpu_s']:,}"),
        Column("MB/s", lambda r: f"{r['input_mb_per_cpu_s']:.1f}"),
        Column("times", lambda r: f"{r['times_first_peer']:.2f}"),
        Column("wall s", lambda r: f"{r['wall_s']:.2f}"),
        Column("CPU s", lambda r: f"{r['cpu_s']:.2f}"),
        Column("peak MB", lambda r: f"{r['peak_mb']:.0f}"),
        Column("gz MB", lambda r: f"{r['output_bytes'] / MEGABYTE:.1f}"),
        *HARD_NUMBERS,
    ),
    prepare=prepare,
    derive=derive,
    notes=(
        "items/s and MB/s of compact DynamoDB-JSON, per CPU second. gzip without a level is Python's default, 9;",
        f"dynalake writes level {LEVEL} of zlib-ng. All write the same metadata fields;",
        "dynalake also sorts names and sets.",
    ),
)


def _check_count(lines: gzip.GzipFile) -> None:
    with lines:
        count = sum(1 for _ in lines)
    if count != ITEMS:
        raise BenchmarkError(f"{count:,} lines were written for {ITEMS:,} items")


def _set_or_binary(value: Any) -> Any:
    if isinstance(value, set):
        return list(value)
    if isinstance(value, Binary):
        return _base64(value.value)  # type: ignore[attr-defined]
    raise TypeError(f"{type(value).__name__} is not JSON serializable")


def _base64(value: Any) -> str:
    return base64.b64encode(value).decode()


def _mark_bytes(value: Any) -> dict[str, str]:
    return {_BYTES: _base64(value)}


def _read_bytes(value: dict[str, Any]) -> Any:
    return base64.b64decode(value[_BYTES]) if _BYTES in value else value
