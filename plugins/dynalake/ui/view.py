"""What the page shows of a status: texts, and bars as numbers. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from dynalake.days import SNAPSHOT_DAY, shift_day
from dynalake.names import Lake, TableNames
from dynalake.watch.judge import ATTENTION, NEW, OK, STATES, Finding, duration, is_quiet, lateness, moment
from dynalake.watch.metrics import milliseconds
from dynalake.watch.readings import LISTED, Day
from dynalake.watch.status import Overview, TableStatus

STALE = "not looked at"
TONES = {OK: "good", NEW: "plain", ATTENTION: "warn", STALE: "warn"}
"""All others are bad."""
CHART_DAYS = 30
SPARK_DAYS = 14

Facts = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Bar:
    """One day in a chart: heights from 0 to 100. `json`: not compacted yet."""

    day: str
    x: int
    height: float
    json: bool
    title: str


@dataclass(frozen=True)
class Chart:
    """Bars over `count` days: the tallest in words, the first and the last day."""

    title: str
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
    """`good`, `plain`, `warn` or `bad`: its colour."""
    note: str
    newest: str
    newest_at: str
    lag: str
    through: str
    waiting: str
    put_aside: str
    rows: str
    size: str
    spark: Chart
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Group:
    """Facts about one thing, under a title."""

    title: str
    facts: Facts


@dataclass(frozen=True)
class Detail:
    """One table's own page."""

    row: Row
    looked: str
    groups: tuple[Group, ...]
    charts: tuple[Chart, ...]
    days: tuple[tuple[str, str, str, str, str], ...]
    queries: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class View:
    """The overview: when it was made, some numbers over all tables (name, value, tone), and the tables."""

    looked: str
    tiles: tuple[tuple[str, str, str], ...]
    rows: tuple[Row, ...]


def overview_view(overview: Overview, lake: Lake, now: datetime) -> View:
    """The lake at `now`."""
    rows = overview_rows(overview, lake, now)
    at = milliseconds(now)
    days = [day for status in overview.tables for day in status.readings.lake.days]
    bad = sum(row.tone == "bad" for row in rows)
    warned = sum(row.tone == "warn" for row in rows)
    return View(
        looked=f"{moment(overview.at)}, {ago(overview.at, at)}",
        tiles=(
            ("tables", f"{len(rows):,}", ""),
            ("alarms", f"{bad:,}", "bad" if bad else ""),
            ("need attention", f"{warned:,}", "warn" if warned else ""),
            ("rows in Parquet", f"{sum(day.rows or 0 for day in days):,}", ""),
            ("Parquet", size_text(sum(day.size for day in days if day.rows is not None)), ""),
            ("JSON, not compacted", size_text(sum(day.size for day in days if day.rows is None)), ""),
        ),
        rows=tuple(rows),
    )


def overview_rows(overview: Overview, lake: Lake, now: datetime) -> list[Row]:
    """The worst first, then by name; what nobody has looked at lately before what is well."""
    rows = [table_row(status, lake, now) for status in overview.tables]
    order = {state: -number for number, state in enumerate((OK, NEW, STALE, *STATES[2:]))}
    return sorted(rows, key=lambda row: (order[row.state], row.table))


def table_row(status: TableStatus, lake: Lake, now: datetime) -> Row:
    """A table as the overview shows it, at `now`."""
    readings, at = status.readings, milliseconds(now)
    seen, landing, stale = readings.lake, readings.landing, status.is_stale(now)
    state = STALE if stale else status.state
    note = ""
    if stale:
        note = (
            f"for {duration((at - readings.at) / 1000)}; it was {status.state}" if readings.at else "see dynalake_watch"
        )
    elif status.state == OK and is_quiet(readings, status.targets):
        note = "quiet"
    age = lateness(landing, at)
    counted = [day for day in seen.days if day.day != SNAPSHOT_DAY]
    return Row(
        table=status.table,
        state=state,
        tone=TONES.get(state, "bad"),
        note=note,
        newest="–" if age is None else f"{duration(age)} ago",
        newest_at=moment(landing.newest_change) if landing.newest_change else "",
        lag="–" if landing.lag_seconds is None else duration(landing.lag_seconds),
        through=day_text(seen.through) if seen.through else "–",
        waiting=days_text(len(seen.waiting)),
        put_aside=count_text(sum(readings.put_aside.values())) if any(readings.put_aside.values()) else "–",
        rows=f"{sum(day.rows or 0 for day in seen.days):,}",
        size=size_text(sum(day.size for day in seen.days)),
        spark=chart(counted, lake.day_of(now), SPARK_DAYS, rows=False),
        findings=status.findings,
    )


def table_detail(status: TableStatus, names: TableNames, now: datetime) -> Detail:
    """A table's own page, at `now`."""
    readings, at = status.readings, milliseconds(now)
    days = [day for day in readings.lake.days if day.day != SNAPSHOT_DAY]
    today = names.lake.day_of(now)
    queries = (
        ("items as they are", f'SELECT * FROM "{names.lake.database}"."{names.current_view}" LIMIT 100'),
        (
            "changes of the last compacted day" if readings.lake.through else "changes",
            f'SELECT * FROM "{names.lake.database}"."{names.changes_view}"'
            + (f" WHERE dt = '{readings.lake.through}'" if readings.lake.through else " LIMIT 100"),
        ),
    )
    return Detail(
        row=table_row(status, names.lake, now),
        looked=f"{moment(readings.at)}, {ago(readings.at, at)}",
        groups=tuple(groups(status, at)),
        charts=(chart(days, today, CHART_DAYS, rows=True), chart(days, today, CHART_DAYS, rows=False)),
        days=tuple(
            (
                "snapshot" if day.day == SNAPSHOT_DAY else day_text(day.day),
                "–" if day.rows is None else f"{day.rows:,}",
                size_text(day.size),
                f"{day.objects:,}",
                "JSON" if day.rows is None else "Parquet",
            )
            for day in reversed(readings.lake.days)
        ),
        queries=queries,
    )


def groups(status: TableStatus, at: int) -> Iterable[Group]:
    """Every reading in words."""
    readings, targets = status.readings, status.targets
    capture, landing, seen, compared = readings.capture, readings.landing, readings.lake, readings.comparison
    hand_off = moment(readings.hand_off) if readings.hand_off else "none yet"
    newest, landed = landing.newest_change, landing.newest_landed
    yield Group(
        "Freshness",
        (
            ("newest change", "none yet" if newest is None else f"{moment(newest)}, {ago(newest, at)}"),
            ("from DynamoDB to S3", "–" if landing.lag_seconds is None else duration(landing.lag_seconds)),
            ("target", f"{targets.freshness_minutes} min"),
            ("newest object", "none yet" if landed is None else f"{landing.newest_object}, {moment(landed)}"),
        ),
    )  # fmt: skip
    yield Group(
        "Stream and forwarder",
        (
            ("mapping", f"{capture.state or '–'} ({capture.last_result or 'no result yet'})"),
            ("its id", capture.mapping_id or "–"),
            ("oldest change that waited", f"{seconds_text(capture.iterator_age_seconds)} (all tables, last 15 min)"),
            ("errors, throttles", f"{capture.errors:,.0f}, {capture.throttles:,.0f} (all tables, last hour)"),
            ("dropped", f"{capture.dropped:,.0f} (last 24 hours)"),
            ("hand-off", hand_off),
        ),
    )
    yield Group(
        "Delivery",
        (
            ("oldest change in Firehose", f"{seconds_text(landing.firehose_age_seconds)} (last 15 min)"),
            ("held back", f"{landing.throttled:,.0f} records (last hour)"),
            *((f"put aside by {stage}", count_text(count)) for stage, count in readings.put_aside.items()),
        ),
    )
    snapshot = "none since the hand-off"
    if seen.snapshot is not None:
        snapshot = f"{seen.snapshot} ({'Parquet' if seen.snapshot_compacted else 'JSON'})"
    yield Group(
        "Compaction and catalog",
        (
            ("Parquet through", day_text(seen.through) if seen.through else "no day yet"),
            ("waiting days", ", ".join(map(day_text, seen.waiting)) or "none"),
            ("snapshot", snapshot),
            ("too narrow columns", ", ".join(f"{m.column} (needs {m.needs})" for m in seen.misfits) or "none"),
        ),
    )
    yield Group(
        "Compared with the table",
        (
            ("items", f"{compared.compared:,} compared, {compared.equal:,} equal"),
            ("in doubt", f"{len(compared.doubts):,}: their change is on its way" if compared.doubts else "none"),
            ("different", ", ".join(doubt.key for doubt in compared.differing) or "none"),
            ("last", moment(compared.at) if compared.at else "not yet"),
        ),
    )


def chart(days: Sequence[Day], today: str, count: int, *, rows: bool) -> Chart:
    """A bar for each of the last `count` days, by rows or by bytes; a day without data has none."""
    known = {day.day: day for day in days}
    wanted = [shift_day(today, ahead) for ahead in range(1 - count, 1)]
    values = {day: (found.rows or 0 if rows else found.size) for day, found in known.items()}
    most = max((values.get(day, 0) for day in wanted), default=0)
    bars = []
    for x, day in enumerate(wanted):
        if not values.get(day):
            continue
        found = known[day]
        counted = "rows not counted yet" if found.rows is None else f"{found.rows:,} rows"
        title = f"{day_text(day)}: {counted}, {size_text(found.size)} {'JSON' if found.rows is None else 'Parquet'}"
        # What is there is seen, however small.
        bars.append(Bar(day, x, max(3.0, round(100 * values[day] / most, 1)), found.rows is None, title))
    return Chart(
        "Rows per day, compacted" if rows else "Bytes per day",
        count,
        tuple(bars),
        f"{most:,}" if rows else size_text(most),
        day_text(wanted[0]),
        day_text(wanted[-1]),
    )


def ago(then: int, at: int) -> str:
    """`5 min ago`."""
    return f"{duration((at - then) / 1000)} ago"


def day_text(day: str) -> str:
    """`2019-05-25`."""
    return f"{day[:4]}-{day[4:6]}-{day[6:]}" if len(day) == 8 else day


def days_text(count: int) -> str:
    return "–" if not count else "1 day" if count == 1 else f"{count:,} days"


def count_text(count: int) -> str:
    return f"{count:,}{' or more' if count >= LISTED else ''}"


def seconds_text(seconds: float | None) -> str:
    return "–" if seconds is None else duration(seconds)


def size_text(size: float) -> str:
    """`512 B`, `1.5 MB`; 1 kB is 1,000 bytes."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            break
        size /= 1000
    return f"{size:,.0f} {unit}" if size >= 100 or unit == "B" else f"{size:.1f} {unit}"
