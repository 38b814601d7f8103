"""The page's charts: places of lines, bars and axes, which a template draws as SVG. Pure.

A plot is 1,000 wide and 100 high, stretched to its box; texts stand outside, so they keep their size on any screen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from dynalake.days import shift_day
from dynalake.ui.texts import day_text, held_text, seconds_text, short_number
from dynalake.watch.history import HOUR_MS, Point
from dynalake.watch.judge import duration
from dynalake.watch.readings import Day

WIDTH, HEIGHT = 1000, 100
TICKS = 4
"""Parts of an axis."""
_STEPS = (15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
"""Seconds between two ticks; above these, whole days, doubled."""


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
    axis: tuple[str, ...]
    days: tuple[str, ...]
    path: str
    """All bars as one shape, in a box of `count` times 10 by 100."""


@dataclass(frozen=True)
class Line:
    """One curve: its name, its path, its last and worst value in words; `tone`: its colour."""

    name: str
    tone: str
    path: str
    now: str
    worst: str


@dataclass(frozen=True)
class Strip:
    """A stretch of one state in the strip below a chart."""

    tone: str
    state: str
    x: float
    width: float


@dataclass(frozen=True)
class Curves:
    """Curves over time; `axis`: texts from the top down to 0; `moments`: evenly spaced (milliseconds).

    `target`: height of the target's line, None where it is above the plot.
    """

    title: str
    lines: tuple[Line, ...]
    axis: tuple[str, ...]
    moments: tuple[int, ...]
    hours: bool
    """Whether the moments need the hour, or the day."""
    target: float | None
    target_text: str
    strips: tuple[Strip, ...]
    summary: str
    """All of it in a sentence, for those who do not see it."""


def chart(days: Sequence[Day], today: str, count: int) -> Chart:
    """Return a bar for each of the last `count` days with changes; a day without changes has no bar."""
    known = {day.day: day.size for day in days}
    shown = [shift_day(today, ahead) for ahead in range(1 - count, 1)]
    rows = [known[day].rows if day in known else 0 for day in shown]
    most = max(rows)
    top = _nice(int(most))
    # Every value above 0 is visible, even a small one.
    bars = tuple(
        Bar(day, x, max(3.0, round(100 * held / top, 1)), f"{day_text(day)}: {held_text(known[day])}")
        for x, (day, held) in enumerate(zip(shown, rows, strict=True))
        if held
    )
    return Chart(
        count,
        bars,
        f"{most:,}",
        tuple(short_number(top * part / 2) for part in (2, 1, 0)),
        tuple(day_text(shown[place]) for place in (0, (count - 1) // 2, count - 1)),
        "".join(f"M{bar.x * 10 + 1} 100v-{bar.height:g}h8v{bar.height:g}z" for bar in bars),
    )


def _nice(most: int) -> int:
    """Return the top of an axis: 1, 2, 5, 10, 20…, at least `most`."""
    top = 1
    while top < most:
        top = top * 5 // 2 if str(top)[0] == "2" else top * 2
    return top


def curves(
    title: str,
    points: Sequence[Point],
    series: Sequence[tuple[str, str, Callable[[Point], float | None]]],
    since: int,
    until: int,
    target_seconds: float,
    tones: Callable[[str], str],
) -> Curves:
    """Return the curves of some series (name, tone, value) between two moments, with the strip of states."""
    shown = [point for point in points if since <= point.at <= until]
    values = {name: [value(point) for point in shown] for name, _, value in series}
    known = [value for each in values.values() for value in each if value is not None]
    step = _step(max(known, default=0.0))
    top = TICKS * step
    apart = 2.5 * (HOUR_MS if until - since > 25 * HOUR_MS else HOUR_MS / 3)

    def place(at: int) -> float:
        return round(WIDTH * (at - since) / (until - since), 1)

    lines = []
    for name, tone, _ in series:
        path: list[str] = []
        last: int | None = None
        for point, value in zip(shown, values[name], strict=True):
            if value is None:
                last = None
                continue
            move = last is None or point.at - last > apart
            height = round(HEIGHT - HEIGHT * min(value, top) / top, 1)
            # A curve of one point is drawn as a dot: a line of no length with round ends.
            path.append(f"{'M' if move else 'L'}{place(point.at):g} {height:g}{'h0' if move else ''}")
            last = point.at
        worst = max((v for v in values[name] if v is not None), default=None)
        now = values[name][-1] if shown else None
        lines.append(Line(name, tone, "".join(path), seconds_text(now), seconds_text(worst)))
    words = "; ".join(f"{line.name}: now {line.now}, at worst {line.worst}" for line in lines)
    return Curves(
        title,
        tuple(lines),
        (*(duration(step * tick) for tick in range(TICKS, 0, -1)), "0"),
        tuple(since + (until - since) * part // TICKS for part in range(TICKS + 1)),
        until - since <= 25 * HOUR_MS,
        round(HEIGHT - HEIGHT * target_seconds / top, 1) if target_seconds <= top else None,
        duration(target_seconds),
        tuple(_strips(shown, place, apart, tones)),
        f"{title}: {words}",
    )


def _step(most: float) -> int:
    most = int(most)  # a stored number that is endless is none of the watch's, and must not keep the page busy
    for step in _STEPS:
        if TICKS * step >= most:
            return step
    step = 86400
    while TICKS * step < most:
        step *= 2
    return step


def _strips(
    points: Sequence[Point], place: Callable[[int], float], apart: float, tones: Callable[[str], str]
) -> Iterable[Strip]:
    """Yield each stretch of one state; a look counts until the next one, but not for longer than looks are apart."""
    begun: tuple[str, int, int] | None = None
    for number, point in enumerate(points):
        later = points[number + 1].at if number + 1 < len(points) else point.at + apart / 2.5
        end = int(min(later, point.at + apart))
        if begun is not None and begun[0] == point.state and begun[2] >= point.at:
            begun = (begun[0], begun[1], end)
            continue
        if begun is not None:
            yield _strip(begun, place, tones)
        begun = (point.state, point.at, end)
    if begun is not None:
        yield _strip(begun, place, tones)


def _strip(begun: tuple[str, int, int], place: Callable[[int], float], tones: Callable[[str], str]) -> Strip:
    state, start, end = begun
    x = place(start)
    return Strip(tones(state), state, x, round(max(3.0, min(WIDTH, place(end)) - x), 1))
