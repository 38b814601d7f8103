from __future__ import annotations

from typing import Any

import pytest

from dynalake.backfill.plan.estimate import duration, estimate_export, estimate_scan, quote

GB = 10**9


def table(size: int, provisioned: int = 0) -> dict[str, Any]:
    throughput = {"ReadCapacityUnits": provisioned, "WriteCapacityUnits": provisioned}
    return {"TableName": "RECEIPTS", "ItemCount": 1234, "TableSizeBytes": size, "ProvisionedThroughput": throughput}


def test_a_scan_on_demand_pays_for_half_a_unit_per_4_kb() -> None:
    estimate = estimate_scan(table(4096 * 10**6), tasks=4, consistent=False, max_read_capacity=0)
    assert (estimate.read_units, estimate.dollars) == (500_000, 0.0625)
    assert estimate.seconds == 98
    twice = estimate_scan(table(4096 * 10**6), tasks=4, consistent=True, max_read_capacity=0)
    assert (twice.read_units, twice.dollars) == (1_000_000, 0.125)


def test_a_limit_and_the_provisioned_capacity_make_a_scan_longer() -> None:
    assert estimate_scan(table(4096 * 2000), tasks=4, consistent=True, max_read_capacity=10).seconds == 200
    provisioned = estimate_scan(table(4096 * 2000, 5), tasks=4, consistent=True, max_read_capacity=10)
    assert (provisioned.seconds, provisioned.dollars) == (400, 0)
    assert "provisioned" in provisioned.remark
    assert "set a limit" not in provisioned.remark
    assert "set a limit" in estimate_scan(table(4096, 5), tasks=4, consistent=True, max_read_capacity=0).remark


def test_an_export_pays_per_gb_and_uses_no_read_capacity() -> None:
    estimate = estimate_export(table(50 * GB), tasks=50, recovery=True)
    assert (estimate.read_units, estimate.dollars) == (0, 5)
    assert 300 < estimate.seconds < 500
    assert "enable_pitr" not in estimate.remark
    off = estimate_export(table(50 * GB), tasks=4, recovery=False).remark
    assert "costs $10.00 a month, see `enable_pitr`" in off
    assert "at most" in estimate_export(table(GB), tasks=4, recovery=True, incremental=True).remark


def test_the_quote_shows_every_method_and_the_chosen_one() -> None:
    described = table(50 * GB)
    estimates = (
        estimate_export(described, tasks=50, recovery=True),
        estimate_scan(described, tasks=50, consistent=False, max_read_capacity=1000),
    )
    text = quote(described, "export", estimates)
    assert "about 1,234 items, 50,000,000,000 bytes" in text
    assert "**export**" in text
    assert "| export | 6 min 36 s | 0.0 | $5.0000 | no load on the table |" in text
    assert "| scan | 1 h 41 min | 6,103,516.0 | $0.7629 | on demand |" in text
    assert len(text) < 1000, "the longest note that Airflow keeps"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (95, "1 min 35 s"), (3600, "1 h 0 min"), (90000, "25 h 0 min")]
)
def test_a_duration_in_words(seconds: int, text: str) -> None:
    assert duration(seconds) == text
