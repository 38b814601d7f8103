"""The cost of a table: AWS's prices as data, and docs/cost.md as the code calculates it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import date

import pytest
from cfnlint.decode import cfn_yaml
from hypothesis import given
from hypothesis import strategies as st

from dynalake.capture.stacks.specs import template_text
from dynalake.names import Lake
from dynalake.options.settings import TableSettings
from dynalake.sizing.cost import PARTS, Cost, alarm_metrics, costs, objects_of, traffic_of
from dynalake.sizing.prices import FILE, where_and_when
from dynalake.sizing.quote import cost_table, quote
from dynalake.sizing.requests import QUIET, Requests, month_of, run_with_news, runs_a_month
from dynalake.sizing.shards import plan_shards
from dynalake.sizing.usage import Usage, usage_of
from dynalake.watch.metrics import plan_metrics
from tests.support.machine import REPOSITORY

TEMPLATE = template_text("table")
NAMES = Lake("dev", "123456789012", "eu-west-1").table("RECEIPTS")
SETTINGS = TableSettings("RECEIPTS")
PAGE = REPOSITORY / "docs" / "cost.md"


def steady(changes: float, item_bytes: int = 1000, partitions: int = 4) -> Usage:
    """Return two weeks of that many changes in each second."""
    line = usage_of({"ItemCount": 1, "TableSizeBytes": item_bytes}, {}, {}, 14).line_bytes
    minutes = dict.fromkeys(range(14 * 1440), 60 * changes) if changes else {}
    return Usage(minutes, days=14, line_bytes=line, partitions=partitions)


def found(usage: Usage, settings: TableSettings = SETTINGS) -> tuple[Cost, ...]:
    return costs(usage, settings, plan_shards(settings, usage, None).shards, TEMPLATE)


def test_every_price_has_a_description_a_source_and_a_check() -> None:
    text = FILE.read_text()
    file = json.loads(text)
    assert date.fromisoformat(file["date"])
    used = set(re.findall(r'price\("(\w+)"\)', "".join(p.read_text() for p in (REPOSITORY / "plugins").rglob("*.py"))))
    assert used == set(file["prices"]), "each price is used"
    for name, price in file["prices"].items():
        assert price["dollars"] > 0, name
        assert price["source"].startswith("https://aws.amazon.com/"), name
        assert price["checked"] in ("infracost", "public", "known"), name
        assert price["unit"], name


def test_the_count_of_alarms_is_that_of_the_template() -> None:
    resources = cfn_yaml.loads(TEMPLATE)["Resources"]
    conditions = {"kinesis": {None, "HasKinesis", "IsKinesis"}, "direct": {None, "HasDirect"}}
    for delivery, own in conditions.items():
        alarms = [r for r in resources.values() if r["Type"] == "AWS::CloudWatch::Alarm" and r.get("Condition") in own]
        metrics = sum(json.dumps(alarm["Properties"], default=str).count('"MetricName"') for alarm in alarms)
        assert alarm_metrics(TEMPLATE, delivery) == metrics > 3


def test_an_idle_table_pays_only_for_what_it_has() -> None:
    direct, stream, on_demand = found(steady(0))
    assert (direct.parts["Kinesis"], round(stream.parts["Kinesis"], 2)) == (0, 10.95)
    assert round(on_demand.parts["Kinesis"], 2) == 29.20
    assert {direct.parts[part] for part in ("Lambda", "Firehose", "S3 PUTs")} == {0.0}
    assert round(direct.parts["Conversion"], 4) == round(QUIET.dollars * 4380, 4) == 0.0499


def test_the_counted_metrics_are_those_that_the_watch_reads() -> None:
    from dynalake.sizing.cost import WATCHED_METRICS

    assert len(plan_metrics(NAMES, "id", "kinesis")) == WATCHED_METRICS


@given(st.floats(0.01, 5000), st.integers(50, 100_000), st.integers(1, 40))
def test_more_changes_never_cost_less(changes: float, item_bytes: int, partitions: int) -> None:
    usage = Usage(dict.fromkeys(range(30), 60 * changes), 1, 120 + 1.5 * item_bytes, partitions)
    busier = replace(usage, minutes={minute: 2 * count for minute, count in usage.minutes.items()})
    for less_cost, more_cost in zip(
        costs(usage, SETTINGS, 2, TEMPLATE), costs(busier, SETTINGS, 2, TEMPLATE), strict=True
    ):
        assert less_cost.dollars <= more_cost.dollars * 1.000001
        assert all(part >= 0 for part in less_cost.parts.values())
    traffic = traffic_of(usage, SETTINGS)
    # Firehose never bills less than the sent bytes, and at most 5 KB a record more.
    assert traffic.bytes <= traffic.billed_bytes * 1.000001
    assert traffic.billed_bytes <= (traffic.bytes + 5 * 1024 * traffic.records) * 1.000001
    assert traffic.invocations <= traffic.changes * 1.000001


def test_each_shard_has_its_own_buffer() -> None:
    """A change a second, buffered for a minute: an object per minute and shard. For five minutes: a fifth."""
    usage = steady(1)
    minutes = 730 * 60
    assert round(objects_of(usage, SETTINGS, 1)) == minutes
    assert round(objects_of(usage, SETTINGS, 4)) == 4 * minutes
    assert round(objects_of(usage, replace(SETTINGS, buffer_seconds=300), 4)) == pytest.approx(
        4 * minutes / 5, rel=0.01
    )
    # A full buffer is delivered earlier.
    assert objects_of(steady(2000), replace(SETTINGS, buffer_mb=1), 1) > 100 * minutes


CASES = {
    "idle": steady(0, partitions=1),
    "a change a minute": steady(1 / 60, partitions=1),
    "10 a second": steady(10),
    "100 a second": steady(100),
    "1,000 a second": steady(1000),
}


def rows() -> list[str]:
    lines = []
    for name, usage in CASES.items():
        direct, stream, on_demand = found(usage)
        shards = plan_shards(SETTINGS, usage, None).shards
        cells = [f"{cost.dollars:,.2f}" for cost in (direct, stream, on_demand)]
        lines.append(f"| {name} | {cells[0]} | {cells[1]} ({shards}) | {cells[2]} |")
    return lines


def test_the_page_shows_what_the_code_calculates() -> None:
    """Both tables and the source of the prices can be pasted from this test's output."""
    text = PAGE.read_text()
    for row in rows():
        assert row in text, "\n".join(rows())
    busy = found(CASES["100 a second"])
    for cost in busy:
        row = f"| {cost.delivery} | {' | '.join(f'{cost.parts[part]:,.2f}' for part in PARTS)} | {cost.dollars:,.2f} |"
        assert row in text, row
    assert where_and_when() in text


def request_rows() -> list[str]:
    """Return the rows of the page's table of requests, for a table and for a lake."""

    def row(name: str, month: Requests) -> str:
        puts, lists, gets, glue = (f"{count:,.0f}" for count in (month.puts, month.lists, month.gets, month.glue))
        return f"| {name} | {puts} | {lists} | {gets} | {glue} | {month.dollars:,.2f} |"

    rows = []
    for every in (1, 5, 10, 60):
        runs = runs_a_month(every)
        idle = month_of(steady(0), 0, every)
        busy = month_of(steady(1), objects_of(steady(1), SETTINGS, 1), every)
        lake = QUIET * (950 * runs) + run_with_news(every) * (50 * runs)
        rows += [row(f"{every}, idle", idle), row(f"{every}, busy", busy), row(f"{every}, 1,000 tables", lake)]
    return rows


def test_the_page_shows_the_requests() -> None:
    text = PAGE.read_text()
    for row in request_rows():
        assert row in text, "\n".join(request_rows())


@pytest.mark.parametrize(
    ("settings", "usage", "parts"),
    [
        (SETTINGS, steady(100), ("by `kinesis`, 1 shard: the peak", "Recommended: **direct**, $", "less, unless")),
        (replace(SETTINGS, delivery="direct"), steady(0), ("by `direct`; nothing was written",)),
        (replace(SETTINGS, stream_mode="on_demand"), steady(1), ("by `kinesis`, on demand; the peak",)),
        (
            SETTINGS,
            steady(1000),
            ("Recommended: **kinesis, 3 × shard**: the peak of 1.5 MiB/s is close to the 1 MiB/s",),
        ),
    ],
)
def test_a_note_gives_cost_and_reason_and_fits(settings: TableSettings, usage: Usage, parts: tuple[str, ...]) -> None:
    planned = plan_shards(settings, usage, None)
    text = quote(settings, usage, planned, found(usage, settings), "eu-central-1")
    for part in (*parts, "prices of us-east-1, ", "; kinesis, on demand $"):
        assert part in text
    assert len(text) < 500, "a run's note has 1,000 characters, and other tasks add to it as well"
    assert cost_table(found(usage, settings)).count("\n") == 4
