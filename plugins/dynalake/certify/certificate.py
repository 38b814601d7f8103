"""The certificate: the result of a comparison, kept as JSON in S3, for the run's note and the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from dynalake.certify.certification import DIFFERENT, EXTRA, MISSING, Certification
from dynalake.errors import AlarmError, counted
from dynalake.lake.catalog.table import Table

NAMED = 100
"""Most differences that are named."""

_WORDS = {MISSING: "missing in the lake", EXTRA: "only in the lake", DIFFERENT: "with other attributes"}


@dataclass(frozen=True)
class Difference:
    """An item that differs: its key as text, each value cut, the kind, and the names of attributes that differ."""

    key: str
    kind: str
    attributes: tuple[str, ...] = ()

    def line(self) -> str:
        """Return it as a line of a log."""
        names = ", ".join(map(repr, self.attributes))
        return f"{self.key}: {_WORDS[self.kind]}" + (f" ({names})" if names else "")


@dataclass(frozen=True)
class Certificate:
    """Every item of `table` in DynamoDB and in `{t}_current`, compared as of `as_of` (milliseconds).

    `items` were compared, `rows` of the lake; `reread` of them had changed in the meantime and were read again. There
    are `missing`, `extra` and `different` ones, of which `named` has the first. `unread`: how many of these were not
    read again, because there are too many. `dollars`: the estimated price of reading the table.
    """

    table: str
    run: str
    method: str
    as_of: int
    finished_at: int
    items: int
    rows: int
    reread: int
    missing: int
    extra: int
    different: int
    unread: int
    named: tuple[Difference, ...]
    dollars: float

    @classmethod
    def of(
        cls,
        certification: Certification,
        kinds: Mapping[str, int],
        named: tuple[Difference, ...],
        dollars: float,
        finished_at: int,
    ) -> Certificate:
        """Return the certificate of a comparison with so many differences of each kind."""
        return cls(
            table=certification.table,
            run=certification.run,
            method=certification.method,
            as_of=certification.since,
            finished_at=finished_at,
            items=certification.items,
            rows=certification.rows,
            reread=certification.reread,
            missing=kinds.get(MISSING, 0),
            extra=kinds.get(EXTRA, 0),
            different=kinds.get(DIFFERENT, 0),
            unread=sum(certification.unread.values()),
            named=named,
            dollars=dollars,
        )

    @property
    def differences(self) -> int:
        return self.missing + self.extra + self.different

    @property
    def equal(self) -> bool:
        """Whether there is no difference."""
        return not self.differences

    def note(self) -> str:
        """Return the line of the run's note."""
        of_kind = [f"{getattr(self, kind):,} {words}" for kind, words in _WORDS.items() if getattr(self, kind)]
        moment = datetime.fromtimestamp(self.as_of / 1000, UTC).isoformat(sep=" ", timespec="seconds")
        details = [
            *of_kind,
            f"by {self.method} as of {moment}",
            *([f"{self.reread:,} changed in the meantime and were read again"] if self.reread else []),
            *([f"{self.unread:,} too many to read again"] if self.unread else []),
            *([f"about ${self.dollars:,.2f}"] if self.dollars else []),
        ]
        return (
            f"{self.table}: {counted(self.items, 'item')} compared, {counted(self.differences, 'difference')} "
            f"({'; '.join(details)})"
        )

    def lines(self) -> Iterator[str]:
        """Yield lines for the task's log: the note, and each named difference."""
        yield self.note()
        for difference in self.named:
            yield difference.line()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Certificate:
        named = (Difference(d["key"], d["kind"], tuple(d["attributes"])) for d in value["named"])
        return cls(**{**value, "named": tuple(named)})


def save_certificate(table: Table, certificate: Certificate) -> None:
    """Store the certificate under its run's name, and as the table's last one."""
    value = certificate.to_json()
    table.store.write_json(table.names.certificate(certificate.run), value)
    table.store.write_json(table.names.last_certificate, value)


def find_certificate(table: Table, run: str) -> Certificate | None:
    """Return the certificate of a run (its name); None where the table was not compared in it."""
    stored = table.store.read_json(table.names.certificate(run))
    return None if stored is None else Certificate.from_json(stored.value)


def check_certificates(found: Mapping[str, Certificate | None]) -> None:
    """Raise `AlarmError` where a table differs from the lake, or has no certificate."""
    differing = [c for c in found.values() if c is not None and not c.equal]
    missing = [name for name, certificate in found.items() if certificate is None]
    texts = [c.note() for c in differing]
    texts += [f"Not compared: {', '.join(missing)}"] if missing else []
    if texts:
        raise AlarmError(
            "; ".join(texts),
            allowed="every item of the table, in the lake as DynamoDB has it",
            action="see the log of 'settle' for the keys, and docs/operations.md for what to do"
            if differing
            else "see the failed tasks of these tables",
        )


def load_certificate(table: Table) -> Certificate | None:
    """Return the table's last certificate; None where there is none yet."""
    stored = table.store.read_json(table.names.last_certificate)
    return None if stored is None else Certificate.from_json(stored.value)
