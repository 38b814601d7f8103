"""A table's status at the last look: judged, and kept as JSON in S3, where the page reads it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from dynalake.aws.clients import Clients
from dynalake.aws.s3 import Store
from dynalake.days import milliseconds
from dynalake.errors import AlarmError, RecordError, cut
from dynalake.lake.catalog.table import Table
from dynalake.names import Lake
from dynalake.watch.history import History, add_look, point_of
from dynalake.watch.judge import ALARMS, Targets, Verdict, duration, judge, moment, worst
from dynalake.watch.readings import Readings

READERS = 16
LARGEST_BYTES = 16 << 20
"""Bytes of an object, more than the statuses of a thousand tables: a larger one is not the watch's, and is not read."""
WRONG_VALUES = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""Errors from reading or showing values of another type or range than a watch writes."""
OVERVIEW_HOURS = 24
"""Hours of each table's history in the overview."""
STALE_MINUTES = 30
"""Age at which a status no longer describes the present: three runs were missed."""


@dataclass(frozen=True)
class TableStatus:
    """One table: what was read, by which limits it was judged, what was found."""

    table: str
    state: str
    verdicts: tuple[Verdict, ...]
    targets: Targets
    readings: Readings
    history: History = field(default_factory=History)

    @classmethod
    def of(cls, table: str, readings: Readings, targets: Targets, before: TableStatus | None = None) -> TableStatus:
        """Judge readings, and return the status. `before`: the last one, whose history goes on."""
        verdicts = judge(readings, targets)
        state, history = worst(verdicts), History() if before is None else before.history
        if readings.hand_off is not None:
            history = add_look(history, point_of(readings, state))
        return cls(table, state, verdicts, targets, readings, history)

    def shortened(self) -> TableStatus:
        """Return the status for the overview: without what only the table's own page shows, which is long."""
        lake = replace(self.readings.lake, queries={}, columns=(), held=(), folds=())
        history = History(hours=self.history.hours[-OVERVIEW_HOURS:])
        return replace(self, readings=replace(self.readings, lake=lake), history=history)

    def is_stale(self, now: datetime) -> bool:
        """Return whether nobody has looked at the table for too long."""
        return milliseconds(now) - self.readings.at > STALE_MINUTES * 60_000

    def lines(self) -> Iterator[str]:
        """Yield lines for the task's log: the state, how fresh it is, each verdict with what to do."""
        landing, lake = self.readings.landing, self.readings.lake
        yield f"{self.table} is {self.state}"
        if landing.newest_change is not None:
            lag = "" if landing.lag_seconds is None else f", in S3 {duration(landing.lag_seconds)} later"
            yield f"Newest change: {moment(landing.newest_change)}{lag}"
        if lake.newest_change is not None:
            yield f"In the tables: changes up to {moment(lake.newest_change)}, folded up to {moment(lake.folded_to)}"
        for verdict in self.verdicts:
            yield f"{verdict.state}: {verdict.message}"
            if verdict.action:
                yield f"  What to do: {verdict.action}"

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TableStatus:
        """Return the status from the JSON of `dataclasses.asdict`."""
        return cls(
            table=values["table"],
            state=values["state"],
            verdicts=tuple(Verdict(**verdict) for verdict in values["verdicts"]),
            targets=Targets(**values["targets"]),
            readings=Readings.from_dict(values["readings"]),
            history=History.from_dict(values["history"]) if "history" in values else History(),
        )


@dataclass(frozen=True)
class Overview:
    """All tables of a lake; `at` in milliseconds since the epoch."""

    environment: str
    at: int
    tables: tuple[TableStatus, ...]

    def to_json(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> Overview:
        values = json.loads(text)
        return cls(values["environment"], values["at"], tuple(map(TableStatus.from_dict, values["tables"])))


def check_alarms(statuses: Iterable[TableStatus]) -> None:
    """Raise `AlarmError` with what is wrong with the tables that need somebody now."""
    alarmed = [status for status in statuses if status.state in ALARMS]
    if not alarmed:
        return
    lines = []
    for status in alarmed:
        lines += [f"{status.table} is {f.state}: {f.message}" for f in status.verdicts if f.state in ALARMS]
    actions = dict.fromkeys(f.action for status in alarmed for f in status.verdicts if f.state in ALARMS and f.action)
    raise AlarmError(
        "; ".join(lines),
        allowed="tables that are captured, in time and complete",
        action="; ".join(actions),
        **({"table": alarmed[0].table} if len(alarmed) == 1 else {}),
    )


def check_seen(statuses: Iterable[TableStatus], tables: Sequence[str] | None, begun: int) -> None:
    """Raise `AlarmError` where a run that began at `begun` did not look at all its tables; None: they are unknown."""
    if tables is None:
        raise AlarmError("No table was looked at", action="find out why the task 'tables' failed")
    seen = {status.table for status in statuses if status.readings.at >= begun}
    if missing := [table for table in tables if table not in seen]:
        raise AlarmError(f"Not looked at: {', '.join(missing)}", action="find out why their tasks 'look' failed")


def save_status(table: Table, status: TableStatus) -> None:
    """Store the status as the table's last one."""
    table.store.write_json(table.names.watch_state, asdict(status))


def load_status(table: Table) -> TableStatus | None:
    """Return the table's last status; None where there is none yet, or none that can be read.

    Such a table counts as not looked at, and hides no other.
    """
    with suppress(RecordError, *WRONG_VALUES):
        text = _read(table.store, table.names.watch_state)
        status = None if text is None else TableStatus.from_dict(json.loads(text))
        return status if status is None or isinstance(status.readings.at, int) else None
    return None


def last_read(table: Table) -> datetime | None:
    """Return when a look last found that the table's stream was read; None where none has."""
    status = load_status(table)
    at = None if status is None else status.readings.capture.read_at
    return None if at is None else datetime.fromtimestamp(at / 1000, UTC)


def save_overview(clients: Clients, lake: Lake, tables: Sequence[str], now: datetime) -> Overview:
    """Gather the last status of each table into the lake's overview; one that was never looked at is of 1970."""
    store = Store(clients, lake.bucket)

    def last(table: str) -> TableStatus:
        status = load_status(Table(clients, lake.table(table))) or TableStatus.of(table, Readings(at=0), Targets())
        return status.shortened()

    with ThreadPoolExecutor(READERS) as pool:
        statuses = tuple(pool.map(last, tables))
    overview = Overview(lake.environment, milliseconds(now), statuses)
    store.write(lake.watch_overview, overview.to_json().encode(), "application/json")
    return overview


def load_overview(clients: Clients, lake: Lake) -> Overview | None:
    """Return the lake's overview in one call; None where nobody has watched it yet.

    Raises `RecordError` for an object that no watch of this version of dynalake wrote.
    """
    store = Store(clients, lake.bucket)
    text = _read(store, lake.watch_overview)
    try:
        return None if text is None else Overview.from_json(text)
    except WRONG_VALUES as error:
        raise _not_written_by_watch(store, lake.watch_overview, f"{type(error).__name__}: {cut(str(error))}") from None


def _read(store: Store, key: str) -> bytes | None:
    body = store.open(key)
    if body is None:
        return None
    with body:
        text = body.read(LARGEST_BYTES + 1)
    if len(text) > LARGEST_BYTES:
        raise _not_written_by_watch(store, key, f"more than {LARGEST_BYTES:,} bytes")
    return text


def _not_written_by_watch(store: Store, key: str, why: str) -> RecordError:
    return RecordError(
        f"{store.uri(key)} is not what dynalake_watch writes ({why})",
        allowed=f"a status that it wrote, of at most {LARGEST_BYTES:,} bytes",
        action="run dynalake_watch, which writes it again, and find out who else writes to the bucket",
        key=key,
    )
