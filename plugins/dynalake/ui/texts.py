"""Numbers, sizes and times as the page writes them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from dynalake.errors import counted
from dynalake.watch.judge import duration
from dynalake.watch.readings import LISTED, Size


@dataclass(frozen=True)
class Fact:
    """A named value: a text, a moment (milliseconds since the epoch, shown in the reader's time zone), or both."""

    name: str
    text: str = ""
    at: int | None = None


def held_text(size: Size) -> str:
    """Return `1,200 rows, 5.2 MB in 3 files`."""
    return f"{counted(size.rows, 'row')}, {size_text(size.bytes)} in {counted(size.files, 'file')}"


def ago(then: int | None, at: int) -> str:
    """Return `5 min ago`."""
    return "–" if then is None else f"{duration((at - then) / 1000)} ago"


def since(name: str, then: int | None, at: int, otherwise: str = "none yet") -> Fact:
    """Return a moment and how long ago it was."""
    return Fact(name, otherwise) if then is None else Fact(name, ago(then, at), then)


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


def short_number(number: float) -> str:
    """Return `950`, `12k`, `3.5M`, for an axis."""
    for unit in ("", "k", "M", "G"):
        if number < 1000 or unit == "G":
            break
        number /= 1000
    return f"{number:.3g}{unit}"


_FORMS = {"moment": "%Y-%m-%d %H:%M UTC", "hour": "%H:%M", "day": "%m-%d"}


def utc(at: int, form: str) -> str:
    """Return a moment in UTC: `2019-05-25 12:00 UTC`, `12:00` or `05-25`. The page's script changes the zone."""
    return datetime.fromtimestamp(at / 1000, UTC).strftime(_FORMS[form])


def iso(at: int) -> str:
    """Return a moment as HTML's `datetime` has it."""
    return f"{datetime.fromtimestamp(at / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def command_of(advice: str) -> tuple[str, str]:
    """Return the command with which an advice begins, or '', and the rest of it."""
    if not advice.startswith("aws "):
        return "", advice
    command, separator, rest = advice.partition("; ")
    return command, f"{separator}{rest}"
