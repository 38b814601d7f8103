"""The overview of a lake: its totals, and a row for each table. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from dynalake.days import milliseconds
from dynalake.names import Lake
from dynalake.ui.charts import Chart, Strip, chart, curves
from dynalake.ui.texts import Fact, ago, count_text, seconds_text, size_text, waiting_text
from dynalake.watch.history import DAY_MS, Point
from dynalake.watch.judge import ATTENTION, NEW, OK, STATES, Verdict, duration, is_quiet
from dynalake.watch.status import Overview, TableStatus

STALE, FIRST = "not checked", "first check"
"""States of a table that nobody has checked lately, or ever."""
NO_OWNER = "no owner"
TONES = {OK: "good", NEW: "plain", FIRST: "plain", ATTENTION: "warn", STALE: "warn"}
"""Tones of states; all others are bad."""
SPARK_DAYS = 14


@dataclass(frozen=True)
class Cell:
    """A value of a row: `sort` is its place among others, None where it has none; `at`: a moment behind it."""

    text: str
    sort: float | None
    at: int | None = None


@dataclass(frozen=True)
class Row:
    """One table in the overview."""

    table: str
    owner: str
    state: str
    tone: str
    """Colour: `good`, `plain`, `warn` or `bad`."""
    note: str
    rank: int
    cells: tuple[Cell, ...]
    """As in `COLUMNS`."""
    strips: tuple[Strip, ...]
    spark: Chart
    verdicts: tuple[Verdict, ...]


COLUMNS = (
    ("in S3", "Age of the newest change that has landed in S3"),
    ("in SQL", "Age of the newest change that SQL sees"),
    ("lag", "What changes take to S3, or have already waited"),
    ("waiting", "Objects that wait for conversion, and days that wait for compaction"),
    ("rejected", "Objects with data that could not pass; dynalake_redrive lists them"),
    ("in DynamoDB", "Items, as DynamoDB counts them about every six hours"),
    ("in the lake", "Items that exist, as of the last fold"),
    ("changes", "Rows of the table of changes"),
    ("size", "Parquet: changes and items"),
    ("$ a month", "Estimate of the table's pipeline, without storage"),
)
"""Columns of the overview with numbers: title and meaning."""


@dataclass(frozen=True)
class View:
    """The overview: when it was made, totals of all tables, the states and the owners with their counts, the tables.

    `owners`: none if no table has one, and last the tables without one as `NO_OWNER`.
    """

    looked: Fact
    tiles: tuple[tuple[str, str, str], ...]
    states: tuple[tuple[str, str, int], ...]
    owners: tuple[tuple[str, int], ...]
    rows: tuple[Row, ...]


def overview_view(overview: Overview, lake: Lake, now: datetime) -> View:
    """Return the view of the lake at `now`."""
    rows = overview_rows(overview, lake, now)
    readings = [status.readings for status in overview.tables]
    tables = [seen.lake for seen in readings]
    bad, warned = (sum(row.tone == tone for row in rows) for tone in ("bad", "warn"))
    months = [sum(seen.month.parts.values()) for seen in readings if seen.month is not None]
    counted = Counter((row.rank, row.state, row.tone) for row in rows)
    owned = Counter(row.owner for row in rows)
    unowned = owned.pop("", 0)
    return View(
        looked=Fact("checked", ago(overview.at, milliseconds(now)), overview.at) if overview.at else Fact("checked"),
        tiles=(
            ("tables", f"{len(rows):,}", ""),
            ("alarms", f"{bad:,}", "bad" if bad else ""),
            ("need attention", f"{warned:,}", "warn" if warned else ""),
            ("changes", f"{sum(seen.changes.rows for seen in tables):,}", ""),
            ("in Parquet", size_text(sum(seen.changes.bytes + seen.state.bytes for seen in tables)), ""),
            ("objects to convert", f"{sum(seen.unconverted for seen in tables):,}", ""),
            ("pipelines a month, estimated", f"${sum(months):,.2f}" if months else "–", ""),
        ),
        states=tuple((state, tone, count) for (_, state, tone), count in sorted(counted.items())),
        owners=(*sorted(owned.items()), *([(NO_OWNER, unowned)] if owned and unowned else [])),
        rows=tuple(rows),
    )


def overview_rows(overview: Overview, lake: Lake, now: datetime) -> list[Row]:
    """Return the rows, worst first, then by name; a table that was not checked lately comes before the good ones."""
    return sorted((table_row(status, lake, now) for status in overview.tables), key=lambda row: (row.rank, row.table))


_RANKS = {state: -number for number, state in enumerate((OK, FIRST, NEW, STALE, *STATES[2:]))}


def table_row(status: TableStatus, lake: Lake, now: datetime) -> Row:
    """Return a table as the overview shows it, at `now`."""
    readings, at = status.readings, milliseconds(now)
    seen, landing = readings.lake, readings.landing
    state, note, verdicts = status.state, "", status.verdicts
    if not readings.at:
        state, verdicts = FIRST, ()
    elif status.is_stale(now):
        state, note = STALE, f"for {duration((at - readings.at) / 1000)}; it was {status.state}"
    elif state == OK and is_quiet(readings, status.targets):
        note = "quiet"
    rejected, size = sum(readings.rejected.values()), seen.changes.bytes + seen.state.bytes
    lag = status.history.hours[-1].lag if status.history.hours else landing.lag_seconds
    live = seen.state.rows if seen.live is None else seen.live
    month = None if readings.month is None else sum(readings.month.parts.values())
    return Row(
        table=status.table,
        owner=readings.owner,
        state=state,
        tone=TONES.get(state, "bad"),
        note=note,
        rank=_RANKS[state],
        cells=(
            _age(landing.newest_change, at),
            _age(seen.newest_change, at),
            Cell(seconds_text(lag), lag),
            Cell(waiting_text(seen.unconverted, len(seen.waiting)), seen.unconverted + 1e9 * len(seen.waiting)),
            Cell(count_text(rejected) if rejected else "–", rejected),
            _number(readings.source.items),
            _number(live if readings.at else None),
            _number(seen.changes.rows if readings.at else None),
            Cell(size_text(size), size),
            Cell("–" if month is None else f"{month:,.2f}", month),
        ),
        strips=strips_of_day(status.history.hours, at),
        spark=chart(seen.days, lake.day_of(now), SPARK_DAYS),
        verdicts=verdicts,
    )


def strips_of_day(hours: tuple[Point, ...], at: int) -> tuple[Strip, ...]:
    """Return the states of the last 24 hours."""
    return curves("", hours, (), at - DAY_MS - 3_600_000, at, 0, tone_of).strips


def tone_of(state: str) -> str:
    return TONES.get(state, "bad")


def _age(then: int | None, at: int) -> Cell:
    return Cell("–", None) if then is None else Cell(duration((at - then) / 1000), at - then, then)


def _number(number: int | None) -> Cell:
    return Cell("–" if number is None else f"{number:,}", number)
