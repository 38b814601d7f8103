"""The deciding and counting parts of the benchmarks."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections import Counter
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from benchmarks import compact, encode, fold_at, history, packing, reading, scan
from benchmarks.hard_numbers import COUNT, hard_numbers, kept, number_text
from benchmarks.harness import (
    ROOT,
    Benchmark,
    BenchmarkError,
    Column,
    Competitor,
    Row,
    medians,
    nothing,
    run,
    schedule,
    table,
)
from benchmarks.meter import Meter, Watch
from infra.local.demo.receipts import generate_receipts


def competitor(name: str, rounds: int = 0) -> Competitor:
    return Competitor(name, lambda meter, scratch: {}, rounds)


def test_each_round_reverses_the_order_of_the_previous_one() -> None:
    order = [turn.name for _, turn in schedule([competitor("a"), competitor("b"), competitor("slow", 1)], 3)]
    assert order == ["a", "b", "slow", "b", "a", "a", "b"]


def test_measurements_become_medians_and_counts_stay_as_they_are() -> None:
    results: list[Row] = [
        {"wall_s": 3.0, "items": 7, "only": "a"},
        {"wall_s": 1.0, "items": 7},
        {"wall_s": 2.0, "items": 7},
    ]
    assert medians(results) == {"wall_s": 2.0, "items": 7, "only": "a", "rounds": 3}
    with pytest.raises(BenchmarkError, match="items differs"):
        medians([{"items": 7}, {"items": 8}])


def test_the_table_is_markdown() -> None:
    columns = [Column("who", lambda r: str(r["name"])), Column("s", lambda r: f"{r['wall_s']:.1f}")]
    assert table(columns, [{"name": "a", "wall_s": 1}, {"name": "longer", "wall_s": 10}]).splitlines() == [
        "| who    |    s |",
        "|--------|-----:|",
        "| a      |  1.0 |",
        "| longer | 10.0 |",
    ]


def test_a_worker_measures_in_its_own_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("benchmarks.harness.RESULTS", tmp_path)
    small = next(entry for entry in packing.BENCHMARK.competitors if entry.name == "50 KB, dynalake")
    benchmark = Benchmark("packing", "", [small], (), nothing, packing.derive)
    (row,) = run(benchmark, rounds=1)
    assert row["records_per_million"] > 0
    assert row["cpu_s"] > 0
    assert row["peak_mb"] > 1
    assert json.loads((tmp_path / "packing.json").read_text()) == [row]


def test_a_competitor_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.harness.RESULTS", tmp_path)
    with pytest.raises(BenchmarkError, match="StopIteration"):
        run(Benchmark("packing", "", [competitor("nobody")], (), nothing), rounds=1)


def test_the_meter_adds_up_and_the_watch_includes_child_processes() -> None:
    meter = Meter()
    for _ in range(2):
        with meter:
            sum(range(200_000))
    cost = meter.finish()
    assert 0 < cost["cpu_s"] < 5
    assert cost["wall_s"] > 0
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'sum(range(20_000_000))'])"
    with subprocess.Popen([sys.executable, "-c", code]) as process, Watch(process.pid) as watch:
        process.wait()
    assert watch.children_cpu_s > 0.1
    assert watch.peak_mb > 1


def test_hard_numbers_are_valid_in_dynamodb() -> None:
    numbers = hard_numbers()
    assert numbers == hard_numbers()
    assert len(numbers) == COUNT
    for number in map(Decimal, numbers):
        assert len(number.as_tuple().digits) <= 38
        assert Decimal("1E-130") <= abs(number) < Decimal("1E126")


def test_the_outcome_for_a_number() -> None:
    assert kept(["1.5", "0.1", "7", "7", "9007199254740993"], ["1.5", '"0.1"', "", '"x"', "9007199254740992.0"]) == {
        "exact": 1,
        "as_text": 1,
        "changed": 2,
        "refused": 1,
    }
    assert number_text('{"n": 1.50}') == "1.50"
    assert number_text('{"n": "1.50"}') == '"1.50"'


@pytest.mark.parametrize("size", [size for size, _ in packing.SIZES.values()])
def test_items_have_the_size_that_dynamodb_counts(size: int) -> None:
    counted = 0
    for name, value in packing.item(7, size).items():
        ((kind, text),) = value.items()
        counted += len(name) + (len(text) if kind == "S" else 1 + (len(text) + 1) // 2)
    assert counted == size


def test_invocations_hold_all_changes_within_lambdas_payload() -> None:
    payloads = packing.invocations(50 * 1024, 100)
    assert sum(len(json.loads(payload)["Records"]) for payload in payloads) == 100
    assert all(len(payload) <= packing.PAYLOAD_BYTES for payload in payloads)


def test_firehose_bills_each_record_in_steps_of_5_kb() -> None:
    assert packing.billed_bytes([1, 5120, 5121]) == 4 * 5120


def test_lambda_bills_a_part_of_a_processor_for_longer() -> None:
    whole = packing.gb_seconds(10, packing.PROCESSOR_MB)
    assert packing.gb_seconds(10, 512) == pytest.approx(whole)
    assert packing.gb_seconds(10, 2 * packing.PROCESSOR_MB) == pytest.approx(2 * whole)


def test_a_simulated_merge_writes_only_the_files_of_its_keys() -> None:
    keys = np.arange(0, 4_000, 2)
    partition = fold_at.Partition(fold_at.ROW_BYTES, keys)
    partition.files = partition.write(keys)
    assert len(partition.files) > 3
    before, written = partition.files, partition.written
    low, high = before[1].low, before[1].high
    assert low
    assert high
    come, gone = np.array([low[0] + 1]), np.array([high[0]])
    partition.merge(come, gone, np.concatenate([come, gone]))
    assert [file for file in before if file not in partition.files] == [before[1]]
    assert partition.written - written == before[1].file.size
    assert come[0] in partition.keys
    assert gone[0] not in partition.keys


def test_the_operator_gets_no_sets_and_no_binary() -> None:
    text = json.dumps([scan.plain(item) for item in generate_receipts(200)])
    assert not any(f'{{"{kind}":' in text for kind in ("B", "SS", "NS", "BS"))
    assert '{"M":' in text


def test_pages_read_back_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "ITEMS", encode.PAGE)
    with encode.prepare(tmp_path):
        assert list(encode.read_pages(tmp_path)) == [list(generate_receipts(encode.PAGE))]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({}, ""),
        ({"key_bytes": 1_190, "commit_calls": 18, "commit_s": 9.0}, ""),
        ({"key_bytes": 1_210}, "300 days: 1,210 bytes for one item, not 1,000"),
        ({"key_bytes": 790}, "790 bytes"),
        ({"plan_calls": 7}, "plan_calls are 7, not 6"),
        ({"commit_calls": 19}, "commit_calls are 19, not 17"),
    ],
)
def test_a_cost_that_grows_with_history_is_an_error(more: Row, message: str) -> None:
    young: Row = {
        "name": "30 days",
        "key_bytes": 1_000,
        "plan_calls": 6,
        "plan_s": 1,
        "commit_calls": 17,
        "commit_s": 1,
    }
    old: Row = {name: value for name, value in young.items() if name != "key_bytes"} | {"name": "3,650 days"}
    rows = [young, {**young, "name": "300 days", **more}, old]
    if message:
        with pytest.raises(BenchmarkError, match=message):
            history.derive(rows)
    else:
        history.derive(rows)
        assert rows[1]["times_key_bytes"] == rows[1]["key_bytes"] / 1_000
        assert "times_key_bytes" not in rows[2]


def test_a_new_type_is_compared_with_the_conversion_of_the_same_days() -> None:
    names = ("dynalake, conversion from raw", "dynalake, 2 folders", compact.DAYS_FROM_RAW, "integer → decimal")
    rows: list[Row] = [
        {"name": name, "wall_s": wall, "cpu_s": wall / 2} for name, wall in zip(names, (6, 2, 12, 3), strict=True)
    ]
    compact.derive(rows)
    assert [(row["speed_wall"], row["speed_cpu"]) for row in rows] == [(1, 1), (3, 3), (1, 1), (4, 4)]


def test_visits_are_in_every_line_and_the_last_change_needs_a_wider_type(tmp_path: Path) -> None:
    lines = [b'{"a":1}\n', b'{"a":2}\n', b'{"a":3}\n', b'{"a":3}\n']
    (tmp_path / "raw.gz").write_bytes(gzip.compress(b"".join(lines)))
    compact.add_visits(tmp_path / "raw.gz", tmp_path / "out.gz", '"many"')
    texts = gzip.decompress((tmp_path / "out.gz").read_bytes()).splitlines()
    assert [json.loads(text)["visits"] for text in texts] == [0, 1, "many", "many"]


@pytest.mark.parametrize(
    ("table", "query", "bytes_read", "message"),
    [
        ("{t}", "all changes", 90_000, ""),
        ("{t}", "one key", 90_000, ""),
        ("{t}", "one day", 1_300, "1,300 bytes, not 1,000"),
        ("{t}_current", "one key", 700, "700 bytes, not 1,000"),
        ("{t}_state", "all items", 1_100, ""),
    ],
)
def test_reading_more_as_days_pass_is_an_error(table: str, query: str, bytes_read: int, message: str) -> None:
    rows: list[Row] = [
        {"days": days, "measured": [{"table": table, "query": query, "input_bytes": size}]}
        for days, size in ((10, 1_000), (1_000, bytes_read))
    ]
    if message:
        with pytest.raises(BenchmarkError, match=message):
            reading.derive(rows)
    else:
        reading.derive(rows)
        assert [row["name"] for row in rows] == [f"{table}, {query}, {days} days" for days in ("10", "1,000")]


def test_half_of_a_days_changes_are_of_a_tenth_of_the_items_and_ten_days_have_all() -> None:
    days = [history.LAST_DAY - timedelta(days=ago) for ago in reversed(range(10))]
    keys = Counter(key for day in days for key, _, _ in history.changes_of(day))
    assert len(keys) == history.ITEMS
    hot = sum(count for key, count in keys.items() if key < history.key_of(history.ITEMS // 10))
    assert hot > 0.5 * keys.total()


def test_every_benchmark_is_in_the_docs() -> None:
    text = (ROOT / "docs" / "performance.md").read_text()
    from benchmarks.__main__ import NAMES

    assert all(f"### `{name}`" in text for name in NAMES)
