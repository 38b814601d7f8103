"""The page's view of a status: texts, and numbers for bars. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from dynalake.days import milliseconds, shift_day
from dynalake.errors import cut
from dynalake.names import Lake, TableNames
from dynalake.watch.judge import ATTENTION, NEW, OK, STATES, Verdict, duration, is_quiet, moment
from dynalake.watch.readings import LISTED, Day, Size
from dynalake.watch.status import Overview, TableStatus

STALE = "not checked"
TONES = {OK: "good", NEW: "plain", ATTENTION: "warn", STALE: "warn"}
"""Tones of states; all others are bad."""
CHART_DAYS = 30
SPARK_DAYS = 14
ENGINES = {"spark": "Spark and Databricks", "duckdb": "DuckDB", "sql": "Redshift and Snowflake"}
"""Engines that read the tables instead of the views, by SQL dialect."""

Facts = tuple[tuple[str, str], ...]
"""Name and value."""


@dataclass(frozen=True)
class Bar:
    """One day in a chart; `height` is from 0 to 100."""

    day: str
    x: int
    height: float
    title: str


@dataclass(frozen=True)
class Chart:
    """Changes of each of `count` days. In words: `most` of the tallest bar, the first and the last day."""

    count: int
    bars: tuple[Bar, ...]
    most: str
    first: str
    last: str


@dataclass(frozen=True)
class Row:
    """One table in the overview."""

    table: str
    state: str
    tone: str
    """Colour: `good`, `plain`, `warn` or `bad`."""
    note: str
    times: tuple[tuple[str, str], ...]
    """Age and time of the newest change in S3, of the newest one in the table, and of the last folded one."""
    waiting: str
    numbers: tuple[str, ...]
    """Rejected objects, changes, items, size."""
    spark: Chart
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True)
class Detail:
    """One table's own page. `groups`: title and facts; `queries`: purpose and SQL."""

    row: Row
    looked: str
    groups: tuple[tuple[str, Facts], ...]
    chart: Chart
    queries: Facts


@dataclass(frozen=True)
class View:
    """The overview: when it was made, some totals of all tables (name, value, tone), and the tables."""

    looked: str
    tiles: tuple[tuple[str, str, str], ...]
    rows: tuple[Row, ...]


def overview_view(overview: Overview, lake: Lake, now: datetime) -> View:
    """Return the view of the lake at `now`."""
    rows = overview_rows(overview, lake, now)
    tables = [status.readings.lake for status in overview.tables]
    bad = sum(row.tone == "bad" for row in rows)
    warned = sum(row.tone == "warn" for row in rows)
    return View(
        looked=f"{moment(overview.at)}, {ago(overview.at, milliseconds(now))}",
        tiles=(
            ("tables", f"{len(rows):,}", ""),
            ("alarms", f"{bad:,}", "bad" if bad else ""),
            ("need attention", f"{warned:,}", "warn" if warned else ""),
            ("changes", f"{sum(seen.changes.rows for seen in tables):,}", ""),
            ("in the tables", size_text(sum(seen.changes.bytes + seen.state.bytes for seen in tables)), ""),
            ("objects to convert", f"{sum(seen.unconverted for seen in tables):,}", ""),
        ),
        rows=tuple(rows),
    )


def overview_rows(overview: Overview, lake: Lake, now: datetime) -> list[Row]:
    """Return the rows, worst first, then by name; a table that was not checked lately comes before the good ones."""
    rows = [table_row(status, lake, now) for status in overview.tables]
    order = {state: -number for number, state in enumerate((OK, NEW, STALE, *STATES[2:]))}
    return sorted(rows, key=lambda row: (order[row.state], row.table))


def table_row(status: TableStatus, lake: Lake, now: datetime) -> Row:
    """Return a table as the overview shows it, at `now`."""
    readings, at = status.readings, milliseconds(now)
    seen, landing, stale = readings.lake, readings.landing, status.is_stale(now)
    state, note = (STALE, "see dynalake_watch") if stale else (status.state, "")
    if stale and readings.at:
        note = f"for {duration((at - readings.at) / 1000)}; it was {status.state}"
    elif state == OK and is_quiet(readings, status.targets):
        note = "quiet"
    rejected = sum(readings.rejected.values())
    size = size_text(seen.changes.bytes + seen.state.bytes)
    times = (landing.newest_change, seen.newest_change, seen.folded_to)
    return Row(
        table=status.table,
        state=state,
        tone=TONES.get(state, "bad"),
        note=note,
        times=tuple((ago(then, at), moment_text(then)) for then in times),
        waiting=waiting_text(seen.unconverted, len(seen.waiting)),
        numbers=(count_text(rejected) if rejected else "–", f"{seen.changes.rows:,}", f"{seen.state.rows:,}", size),
        spark=chart(seen.days, lake.day_of(now), SPARK_DAYS),
        verdicts=status.verdicts,
    )


def table_detail(status: TableStatus, names: TableNames, now: datetime) -> Detail:
    """Return a table's own page, at `now`."""
    seen, at = status.readings.lake, milliseconds(now)
    database = names.lake.database
    last = seen.days[-1].day if seen.days else names.lake.day_of(now)
    queries = [
        ("Items as they are, in Athena and Trino", f'SELECT * FROM "{database}"."{names.current_view}" LIMIT 100'),
        ("Changes of a day", f'SELECT * FROM "{database}"."{names.changes_table}" WHERE dt = \'{last}\' LIMIT 100'),
    ]
    queries += [(f"Items as they are, in {ENGINES[d]}", sql) for d, sql in seen.queries.items() if d in ENGINES]
    return Detail(
        row=table_row(status, names.lake, now),
        looked=f"{moment(status.readings.at)}, {ago(status.readings.at, at)}",
        groups=tuple(groups(status, names, at)),
        chart=chart(seen.days, names.lake.day_of(now), CHART_DAYS),
        queries=tuple(queries),
    )


def groups(status: TableStatus, names: TableNames, at: int) -> Iterable[tuple[str, Facts]]:
    """Yield every reading, in words."""
    readings, targets = status.readings, status.targets
    capture, landing, seen, compared = readings.capture, readings.landing, readings.lake, readings.comparison
    waits = ", the oldest since " + moment(seen.unconverted_since) if seen.unconverted else ""
    yield (
        "Freshness",
        (
            ("newest change in S3", with_ago(landing.newest_change, at)),
            ("from DynamoDB to S3", f"{seconds_text(landing.lag_seconds)} (target {targets.freshness_minutes} min)"),
            (f"newest change in {names.changes_table}", with_ago(seen.newest_change, at)),
            ("objects to convert", f"{seen.unconverted:,}{waits}"),
            (f"{names.state_table} folded up to", with_ago(seen.folded_to, at)),
            ("changes after that", f"{size_text(seen.unfolded)} of the last {CHART_DAYS} days"),
        ),
    )
    yield (
        "Tables",
        (
            (names.changes_table, held_text(seen.changes)),
            (names.state_table, held_text(seen.state)),
            ("waiting for compaction", ", ".join(day_text(wait.day) for wait in seen.waiting) or "none"),
            ("snapshot", seen.snapshot or "none since the hand-off"),
            ("last check for faults", moment_text(seen.checked_at or None) or "not yet"),
        ),
    )
    yield (
        "Stream and forwarder",
        (
            ("mapping", f"{capture.state or '–'} ({capture.last_result or 'no result yet'})"),
            ("mapping id", capture.mapping_id or "–"),
            ("longest wait of a change", f"{seconds_text(capture.iterator_age_seconds)} (all tables, last 15 min)"),
            ("errors, throttles", f"{capture.errors:,.0f}, {capture.throttles:,.0f} (all tables, last hour)"),
            ("dropped", f"{capture.dropped:,.0f} (last 24 hours)"),
            ("hand-off", moment_text(readings.hand_off) or "none yet"),
        ),
    )
    yield (
        "Delivery",
        (
            ("newest object", with_ago(landing.newest_landed, at)),
            ("oldest change in Firehose", f"{seconds_text(landing.firehose_age_seconds)} (last 15 min)"),
            ("throttled", f"{landing.throttled:,.0f} records (last hour)"),
            *((f"rejected by {stage}", count_text(count)) for stage, count in readings.rejected.items()),
        ),
    )
    yield (
        "Compared with DynamoDB",
        (
            ("items", f"{compared.compared:,} compared, {compared.equal:,} equal"),
            ("in doubt", f"{len(compared.doubts):,}: their changes are under way" if compared.doubts else "none"),
            ("different", ", ".join(cut(doubt.key) for doubt in compared.differing) or "none"),
            ("last comparison", moment_text(compared.at) or "not yet"),
        ),
    )


def chart(days: Sequence[Day], today: str, count: int) -> Chart:
    """Return a bar for each of the last `count` days with changes; a day without changes has no bar."""
    known = {day.day: day.size for day in days}
    shown = [shift_day(today, ahead) for ahead in range(1 - count, 1)]
    rows = [known[day].rows if day in known else 0 for day in shown]
    # Every value above 0 is visible, even a small one.
    bars = (
        Bar(day, x, max(3.0, round(100 * held / max(rows), 1)), f"{day_text(day)}: {held_text(known[day])}")
        for x, (day, held) in enumerate(zip(shown, rows, strict=True))
        if held
    )
    return Chart(count, tuple(bars), f"{max(rows):,}", day_text(shown[0]), day_text(shown[-1]))


def held_text(size: Size) -> str:
    """Return `1,200 rows, 5.2 MB in 3 files`."""
    return f"{size.rows:,} rows, {size_text(size.bytes)} in {size.files:,} file{'' if size.files == 1 else 's'}"


def ago(then: int | None, at: int) -> str:
    """Return `5 min ago`."""
    return "–" if then is None else f"{duration((at - then) / 1000)} ago"


def moment_text(at: int | None) -> str:
    return "" if at is None else moment(at)


def with_ago(then: int | None, at: int) -> str:
    return "none yet" if then is None else f"{moment(then)}, {ago(then, at)}"


def waiting_text(objects: int, days: int) -> str:
    """Return the backlog of conversion and compaction: `3 objects, 1 day`."""
    counted = ((objects, "object"), (days, "day"))
    return ", ".join(f"{n:,} {word}{'' if n == 1 else 's'}" for n, word in counted if n) or "–"


def day_text(day: str) -> str:
    """Return `2019-05-25`."""
    return f"{day[:4]}-{day[4:6]}-{day[6:]}" if len(day) == 8 else day


def count_text(count: int) -> str:
    return f"{count:,}{' or more' if count >= LISTED else ''}"


def seconds_text(seconds: float | None) -> str:
    return "–" if seconds is None else duration(seconds)


def size_text(size: float) -> str:
    """Return `512 B`, `1.5 MB`; 1 kB is 1,000 bytes."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            break
        size /= 1000
    return f"{size:,.0f} {unit}" if size >= 100 or unit == "B" else f"{size:.1f} {unit}"
