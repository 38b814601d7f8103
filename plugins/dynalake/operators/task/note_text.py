"""The text of a run's note: which table and what came of it in the first line, then details, then links. Pure.

Airflow's UI shows a note as Markdown, without raw HTML, but with links and with images from anywhere. So every text
that is not written as Markdown is escaped. A bare web address still becomes a link, which shows where it goes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dynalake.errors import cut

LIMIT = 1000
"""Most characters of a note: the width of Airflow's column, which PostgreSQL enforces."""

MARK = "\u2063"
"""An invisible character before and after the text of a run, so that the next one replaces it and nothing else."""

LEAST = 40
"""Fewest characters in which a run says anything: a user's own note may leave less."""

LINE = 300
"""Characters of an error in the first line."""

SHOWN_NAMES = 3
"""Most tables that a first line names; of more, it says how many there are."""

_OWN = re.compile(f"{MARK}[^{MARK}]*{MARK}")
_MARKUP = re.compile(r"[\\`*\[\]<&~]|(?<![^\W_])_|_(?![^\W_])")
_AT_START = re.compile(r"^(\s*)([#>+=|-])")


@dataclass(frozen=True)
class Failure:
    """A failed task of a run: its name, the error that it has reported, what is needed, and what to do about it."""

    task: str
    received: str = ""
    allowed: str = ""
    action: str = ""


def escape(text: str) -> str:
    """Return a text as Markdown that shows exactly this text. Its lines become paragraphs."""
    lines = (line.strip() for line in text.replace(MARK, "").splitlines())
    return "\n\n".join(_AT_START.sub(r"\1\\\2", _MARKUP.sub(r"\\\g<0>", line)) for line in lines if line)


def name_tables(tables: Sequence[str]) -> str:
    """Return the names of a run's tables, or how many there are."""
    return ", ".join(tables) if len(tables) <= SHOWN_NAMES else f"{len(tables):,} tables"


def failed_lines(subject: str, failures: Sequence[Failure], reason: str) -> list[str]:
    """Return the first line of a failed run, what is needed, what to do, and what else has failed.

    `reason`: if no task has failed.
    """
    about = f"{subject}: " if subject else ""
    if not failures:
        return [f"{about}FAILED: {reason}"]
    # Tasks after the one that has failed repeat its error, and those without an error have been stopped.
    first = next((failure for failure in failures if failure.received), failures[0])
    received = first.received or "it was stopped, by its time limit or with its worker"
    action = first.action or "read the log of the task, repair the cause, and clear the task or trigger the DAG again"
    line = cut(" ".join(received.split()), LINE).rstrip(".")
    others = [cut(failure.task) for failure in failures if failure is not first]
    return [
        f"{about}FAILED in {cut(first.task)}: {line}" + ("" if line.endswith("?") else "."),
        *([f"Needed: {cut(first.allowed, LINE).rstrip('.')}."] if first.allowed else []),
        f"What to do: {action.rstrip('.')}.",
        *([f"Also failed: {name_tasks(others)}"] if others else []),
    ]


def name_tasks(tasks: Sequence[str]) -> str:
    """Return the first names of tasks, and how many more there are."""
    more = len(tasks) - 2 * SHOWN_NAMES
    return ", ".join(tasks[: 2 * SHOWN_NAMES]) + (f" and {more:,} more" if more > 0 else "")


def note(before: str | None, paragraphs: Iterable[str], links: Iterable[str] = ()) -> str:
    """Return the new note: the run's paragraphs and links as Markdown, then what users wrote into the note before.

    The first paragraphs are kept, as many as fit; the last one is cut between words. A link is kept whole or left out.
    There must be a paragraph.
    """
    own = _OWN.sub("", before or "").replace(MARK, "").strip()
    end = f"\n\n{own}" if own else ""
    room = LIMIT - len(end) - 2 * len(MARK)
    first, *others = [paragraph for paragraph in paragraphs if paragraph]
    if room < LEAST:
        return own
    kept = [cut_words(first, room) or cut(first, room - 1)]
    room -= len(kept[0])
    last = []
    for link in links:
        if len(link) + 2 <= room:
            last.append(link)
            room -= len(link) + 2
    for paragraph in others:
        shown = cut_words(paragraph, room - 2)
        if shown:
            kept.append(shown)
            room -= len(shown) + 2
        if shown != paragraph:
            break
    text = "\n\n".join([*kept, *last])
    return f"{MARK}{text}{MARK}{end}"


def cut_words(text: str, limit: int) -> str:
    """Return the text, cut between words to at most `limit` characters; '' if not even one word fits."""
    if len(text) <= limit:
        return text
    words = re.split(r"\s+", text[: max(limit - 1, 0)])
    end = len(text[: max(limit - 1, 0)]) - len(words[-1])
    shown = text[:end].rstrip()
    return f"{shown} …"[: max(limit, 0)] if shown else ""
