"""Every error that dynalake raises, in one tree.

DynalakeError
├── TransientError              the same call may work later: Airflow retries
│   ├── NotReadyError             something was requested and is not there yet (a canary, a stack, a query)
│   ├── ConflictError             somebody else changed the same thing in the meantime: read and decide again
│   ├── UnknownOutcomeError       a commit's answer was lost: it may have landed, so nothing of it may be deleted
│   └── UnavailableError          AWS throttles, fails or is out of reach
└── TerminalError               no retry can help: the task fails at once
    ├── SettingsError             a parameter or setting is not allowed
    ├── NameTakenError            two tables would share one name in the lake
    ├── SourceError               the DynamoDB table is missing or cannot be captured as it is
    ├── AccessError               the AWS connection is missing, or AWS denies it access
    ├── StackError                CloudFormation could not deploy a stack
    ├── RecordError               an item or a line is not what it must be
    ├── LedgerError               counts that must add up do not
    ├── QuarantineError           more rejected lines than the run allows
    ├── CatalogError              the Glue catalog is not what it must be
    └── AlarmError                a watched table needs attention now

Each message says what was received, what is allowed and what to do; ids are attributes (`error.ids["table"]`).
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

SHOWN_CHARACTERS = 120
"""Characters of a value from somebody else that an error, a log, a note or an alarm shows."""


def cut(text: str, limit: int = SHOWN_CHARACTERS) -> str:
    """Return the text, cut after `limit` characters."""
    return text if len(text) <= limit else f"{text[:limit]}…"


def counted(count: int, word: str) -> str:
    """Return `1 file`, `1,200 files` or `2 batches` (pure)."""
    ending = "" if count == 1 else "es" if word.endswith(("ch", "s", "x")) else "s"
    return f"{count:,} {word}{ending}"


def meant(unknown: Iterable[str], known: Iterable[str]) -> str:
    """Return the end of a message, `. Did you mean 'a' and 'b'?`, with the known names that are nearest; '' without."""
    names = {name.lower(): name for name in sorted(known)}
    near = dict.fromkeys(names[match] for name in unknown for match in get_close_matches(name.lower(), names, 1))
    return f". Did you mean {' and '.join(map(repr, near))}?" if near else ""


class DynalakeError(Exception):
    """Base of all errors of dynalake.

    `received` is what was found, `allowed` what is needed, `action` how to get there; `ids` name the things concerned
    (table, stack, partition…), for logs and for callers that want to react.
    """

    def __init__(self, received: str, *, allowed: str = "", action: str = "", **ids: str) -> None:
        self.received = received
        self.allowed = allowed
        self.action = action
        self.ids = ids
        parts = [received.rstrip(".")]
        if allowed:
            parts.append(f"Needed: {allowed.rstrip('.')}")
        if action:
            parts.append(f"What to do: {action.rstrip('.')}")
        super().__init__(" ".join(part if part.endswith("?") else f"{part}." for part in parts))


class TransientError(DynalakeError):
    """The same call may work later."""


class NotReadyError(TransientError):
    """Something was requested and is not there yet."""


class ConflictError(TransientError):
    """Somebody else changed the same thing in the meantime."""


class UnknownOutcomeError(TransientError):
    """A commit's answer was lost. It may have landed, or may land later: nothing that it names may be deleted."""


class UnavailableError(TransientError):
    """AWS throttles, fails or is out of reach."""


class TerminalError(DynalakeError):
    """No retry can help."""


class SettingsError(TerminalError):
    """A parameter or setting is not allowed."""


class NameTakenError(TerminalError):
    """Two tables would share one name in the lake."""


class SourceError(TerminalError):
    """The DynamoDB table is missing or cannot be captured as it is."""


class AccessError(TerminalError):
    """The AWS connection is missing, or AWS denies it access."""


class StackError(TerminalError):
    """CloudFormation could not deploy a stack."""


class RecordError(TerminalError):
    """An item or a line is not what it must be."""


class LedgerError(TerminalError):
    """Counts that must add up do not."""


class QuarantineError(TerminalError):
    """More rejected lines than the run allows."""


class CatalogError(TerminalError):
    """The Glue catalog is not what it must be."""


class AlarmError(TerminalError):
    """A watched table needs attention now."""
