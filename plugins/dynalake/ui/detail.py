"""One table's own page: what is wrong, its pipeline, history, schema, data and cost. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from dynalake.certify.certificate import Certificate
from dynalake.days import milliseconds
from dynalake.errors import counted, cut
from dynalake.lake.current.past_folds import PastFold
from dynalake.names import TableNames
from dynalake.sizing.prices import price, where_and_when
from dynalake.ui.charts import Chart, Curves, chart, curves
from dynalake.ui.pipeline import Stage, stages
from dynalake.ui.texts import Fact, count_text, day_text, held_text, seconds_text, since, size_text
from dynalake.ui.view import Row, table_row, tone_of
from dynalake.watch.history import DAY_MS, DAYS
from dynalake.watch.readings import Held, Month, SeenColumn
from dynalake.watch.status import TableStatus

CHART_DAYS = 30
NAMED_ITEMS = 3
"""Most items that differ that the page names."""
ENGINES = {"spark": "Spark and Databricks", "duckdb": "DuckDB", "sql": "Redshift and Snowflake"}
"""Engines that read the tables instead of the views, by SQL dialect."""
GB = 10**9


@dataclass(frozen=True)
class Panel:
    """A box of facts; `about` explains its words."""

    title: str
    about: str
    facts: tuple[Fact, ...]


@dataclass(frozen=True)
class DayRow:
    """A day of the table of changes; `waits`: since when it waits for its compaction."""

    day: str
    rows: str
    files: str
    size: str
    waits: int | None


@dataclass(frozen=True)
class FoldRow:
    """A fold that was made; `share`: how much of `{t}_state` it wrote."""

    at: int
    changes: str
    items: str
    rows: str
    size: str
    share: str


@dataclass(frozen=True)
class Detail:
    """One table's own page. `queries`: purpose and SQL."""

    row: Row
    looked: Fact
    stages: tuple[Stage, ...]
    curves: tuple[Curves, ...]
    chart: Chart
    days: tuple[DayRow, ...]
    folds: tuple[FoldRow, ...]
    folds_text: str
    zone: str
    panels: tuple[Panel, ...]
    columns: tuple[SeenColumn, ...]
    held: tuple[Held, ...]
    held_text: str
    cost: tuple[Fact, ...]
    cost_text: str
    queries: tuple[tuple[str, str], ...]


def table_detail(
    status: TableStatus, names: TableNames, now: datetime, certificate: Certificate | None = None
) -> Detail:
    """Return a table's own page, at `now`."""
    seen, at, today = status.readings.lake, milliseconds(now), names.lake.day_of(now)
    waits = {wait.day: wait.since for wait in seen.waiting}
    return Detail(
        row=table_row(status, names.lake, now),
        looked=since("checked", status.readings.at or None, at, "not yet"),
        stages=stages(status, names, at) if status.readings.hand_off is not None else (),
        curves=tuple(_curves(status, at)),
        chart=chart(seen.days, today, CHART_DAYS),
        days=tuple(
            DayRow(
                day_text(day.day),
                f"{day.size.rows:,}",
                f"{day.size.files:,}",
                size_text(day.size.bytes),
                waits.get(day.day),
            )
            for day in reversed(seen.days)
        ),
        folds=tuple(map(_fold_row, seen.folds)),
        folds_text=f"A fold merges changes into {names.state_table}, and writes the files whose items have changed: if "
        "that is all of them, the whole table.",
        zone=names.lake.time_zone,
        panels=(certificate_panel(certificate, at), *panels(status, names, at)),
        columns=seen.columns,
        held=seen.held,
        held_text=_held_text(seen.held_attributes, seen.held_values, len(seen.held)),
        cost=tuple(_cost(status.readings.month, seen.changes.bytes + seen.state.bytes)),
        cost_text=f"AWS's list prices of {where_and_when()}, from the writes of the last two weeks; without "
        "queries, Airflow, and what all tables share.",
        queries=tuple(_queries(status, names, today)),
    )


def _fold_row(fold: PastFold) -> FoldRow:
    whole, share = fold.share == 1, f"{fold.share:.0%}"
    return FoldRow(
        fold.at,
        f"{fold.changes:,}",
        f"{fold.items:,}",
        f"{fold.rows:,}",
        f"{size_text(fold.bytes)} in {counted(fold.files, 'file')}",
        "the whole table" if whole else "under 1%" if fold.bytes and share == "0%" else share,
    )


def _curves(status: TableStatus, at: int) -> Iterable[Curves]:
    """Yield the drawings of freshness and lag over 24 hours and over seven days."""
    history, target = status.history, status.targets.freshness_minutes * 60
    fresh = (("newest change in SQL", "accent", lambda point: point.age),)
    late = (
        ("to S3", "accent", lambda point: point.lag),
        ("then to SQL", "second", lambda point: point.behind),
    )
    for points, days, when in (
        (history.looks, 1, "24 hours"),
        (history.hours, DAYS, f"{DAYS} days, worst of each hour"),
    ):
        start = at - days * DAY_MS
        yield curves(f"Freshness, {when}", points, fresh, start, at, target, tone_of)
        yield curves(f"Lag, {when}", points, late, start, at, target, tone_of)


def _held_text(attributes: int, values: int, shown: int) -> str:
    if not attributes:
        return ""
    more = f" The {shown:,} with the most values:" if attributes > shown else ""
    return f"{counted(values, 'value')} of {counted(attributes, 'attribute')}.{more}"


def _cost(month: Month | None, size: int) -> Iterable[Fact]:
    if month is None:
        return
    storage = size / GB * price("s3_gb_month")
    yield Fact("together", f"${sum(month.parts.values()) + storage:,.2f}")
    for part, dollars in month.parts.items():
        yield Fact(part, f"${dollars:,.2f}")
    yield Fact("S3, Parquet stored", f"${storage:,.2f}")
    yield Fact("delivery", month.delivery)
    yield Fact("estimated", "", month.at)


def _queries(status: TableStatus, names: TableNames, today: str) -> Iterable[tuple[str, str]]:
    seen, database = status.readings.lake, names.lake.database
    last = seen.days[-1].day if seen.days else today
    yield "Items as they are, in Athena and Trino", f'SELECT * FROM "{database}"."{names.current_view}" LIMIT 100'
    changes = f'SELECT * FROM "{database}"."{names.changes_table}" WHERE dt = \'{last}\' LIMIT 100'
    yield "Changes of a day", changes
    for dialect, sql in seen.queries.items():
        if dialect in ENGINES:
            yield f"Items as they are, in {ENGINES[dialect]}", sql


def certificate_panel(certificate: Certificate | None, at: int) -> Panel:
    """Return what the last comparison of all items found."""
    about = (
        "dynalake_certify compares every item of the DynamoDB table with the lake, once a week or when you start it."
    )
    if certificate is None:
        return Panel("Certificate of equality", about, (Fact("items compared", "none yet"),))
    more = len(certificate.named) - NAMED_ITEMS
    return Panel(
        "Certificate of equality",
        about,
        (
            Fact("items compared", f"{certificate.items:,}"),
            Fact("differences", f"{certificate.differences:,}"),
            *(Fact(f"difference {n}", cut(d.line())) for n, d in enumerate(certificate.named[:NAMED_ITEMS], 1)),
            *([Fact("more", f"{more:,} more in the log of dynalake_certify")] if more > 0 else []),
            since(f"as of, by {certificate.method}", certificate.as_of, at),
        ),
    )


def panels(status: TableStatus, names: TableNames, at: int) -> Iterable[Panel]:
    """Yield every reading, in words."""
    readings, targets = status.readings, status.targets
    capture, landing, seen, compared = readings.capture, readings.landing, readings.lake, readings.comparison
    items, live = readings.source.items, seen.state.rows if seen.live is None else seen.live
    yield Panel(
        "Items",
        "DynamoDB counts its items about every six hours, and the lake at each fold: so they may differ a little.",
        (
            Fact("in DynamoDB", "–" if items is None else f"{items:,}"),
            Fact("in the lake, at the last fold", f"{live:,}"),
            Fact("removed, kept in the lake", f"{max(0, seen.state.rows - live):,}"),
            Fact("compared with DynamoDB", f"{compared.compared:,} compared, {compared.equal:,} equal"),
            Fact("in doubt", f"{len(compared.doubts):,}: their changes are under way" if compared.doubts else "none"),
            Fact("different", ", ".join(cut(doubt.key) for doubt in compared.differing) or "none"),
            since("last comparison", compared.at, at, "not yet"),
        ),
    )
    waits = (since("oldest of them", seen.unconverted_since, at),) if seen.unconverted else ()
    yield Panel(
        "Freshness",
        f"{names.changes_table} is a few minutes behind DynamoDB. A fold merges its changes into {names.state_table}, "
        "so that queries of current items read less.",
        (
            since("newest change in S3", landing.newest_change, at),
            Fact(
                "from DynamoDB to S3", f"{seconds_text(landing.lag_seconds)} (target {targets.freshness_minutes} min)"
            ),
            since(f"newest change in {names.changes_table}", seen.newest_change, at),
            Fact("objects to convert", f"{seen.unconverted:,}"),
            *waits,
            since(f"{names.state_table} folded up to", seen.folded_to, at, "not folded yet"),
            Fact("changes after that", f"{size_text(seen.unfolded)} of the last {CHART_DAYS} days"),
            since("fold due", seen.fold_due_since, at, "no"),
        ),
    )
    yield Panel(
        "Tables",
        "Each night, compaction makes one sorted folder of each day that is over. A snapshot is a backfill: the items "
        "that the table already had.",
        (
            Fact(names.changes_table, held_text(seen.changes)),
            Fact(names.state_table, held_text(seen.state)),
            Fact("waiting for compaction", ", ".join(day_text(wait.day) for wait in seen.waiting) or "none"),
            Fact("snapshot", seen.snapshot or "none since the hand-off"),
            since("hand-off: from here on, every change", readings.hand_off, at),
            since("last check for faults", seen.checked_at or None, at, "not yet"),
        ),
    )
    yield Panel(
        "Stream and forwarder",
        "A Lambda mapping reads the table's stream. The forwarder's numbers are of all tables, which share it.",
        (
            Fact("mapping", f"{capture.state or '–'} ({capture.last_result or 'no result yet'})"),
            Fact("mapping id", capture.mapping_id or "–"),
            Fact("longest wait of a change", f"{seconds_text(capture.iterator_age_seconds)} (all tables, last 15 min)"),
            Fact("errors, throttles", f"{capture.errors:,.0f}, {capture.throttles:,.0f} (all tables, last hour)"),
            Fact("dropped", f"{capture.dropped:,.0f} (last 24 hours)"),
            *(Fact(f"rejected by {s}", count_text(readings.rejected.get(s, 0))) for s in ("mapping", "forwarder")),
        ),
    )
    yield Panel(
        "Delivery and conversion",
        "Rejected data is kept in S3, by the stage that could not pass it on. dynalake_redrive lists and replays it.",
        (
            since("newest object", landing.newest_landed, at),
            Fact("oldest change in Firehose", f"{seconds_text(landing.firehose_age_seconds)} (last 15 min)"),
            Fact("throttled", f"{landing.throttled:,.0f} records (last hour)"),
            Fact("shards used, at most", f"{landing.filled:.0%} (last 24 hours)"),
            *(Fact(f"rejected by {s}", count_text(readings.rejected.get(s, 0))) for s in ("delivery", "convert")),
        ),
    )
