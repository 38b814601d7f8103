"""Failures on the way to the lake: the batches that a mapping gave up, and the changes that the forwarder rejected.

A batch is one S3 object, and its key is its name. The mapping's objects hold a whole event, the forwarder's one change.
https://docs.aws.amazon.com/lambda/latest/dg/services-dynamodb-errors.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from dynalake.aws.refusals import AWS_ERRORS
from dynalake.aws.s3 import StoredObject
from dynalake.capture.stacks.stacks import stack_outputs
from dynalake.errors import RecordError, SettingsError
from dynalake.lake.catalog.table import Table
from dynalake.names import STAGE_FORWARDER, STAGE_MAPPING, TableNames

READERS = 8
"""Objects read at the same time; a boto3 client keeps ten connections by default."""

SHOWN_REASON = 300


@dataclass(frozen=True)
class FailedBatch:
    """One object that holds failed changes."""

    key: str
    stage: str
    """`mapping` or `forwarder`."""
    reason: str
    changes: int
    at: datetime
    """Time at which it was written."""
    size: int
    """Bytes of the object."""


@dataclass(frozen=True)
class Failure:
    """The failures with one reason; times in ISO-8601."""

    stage: str
    reason: str
    batches: int
    changes: int
    oldest: str
    newest: str

    def to_dict(self) -> dict[str, Any]:
        """Return the dict for JSON and XCom."""
        return asdict(self)


@dataclass(frozen=True)
class Content:
    """The content of a batch's object: its changes as stream records, and why they are there."""

    records: list[Any]
    reason: str


def list_failed(table: Table, chosen: Sequence[str] = ()) -> tuple[FailedBatch, ...]:
    """Return the table's failed batches, by stage and key.

    `chosen` are keys, or prefixes that end in `/`, with or without `s3://{bucket}/`; empty for all. Raises
    `SettingsError` with those that are not batches of the table.
    """
    listed = [(STAGE_MAPPING, entry) for prefix in mapping_prefixes(table) for entry in table.store.list(prefix)]
    listed += [(STAGE_FORWARDER, entry) for entry in table.store.list(table.names.rejected(STAGE_FORWARDER))]
    if chosen:
        keys = _choose(table, [entry.key for _, entry in listed], chosen)
        listed = [(stage, entry) for stage, entry in listed if entry.key in keys]

    def describe(listed_entry: tuple[str, StoredObject]) -> FailedBatch | None:
        stage, entry = listed_entry
        try:
            content = read_batch(table, entry.key)
        except RecordError as error:
            content = Content([], error.received)
        if content is None:
            return None
        at = datetime.fromtimestamp(entry.modified / 1000, UTC)
        return FailedBatch(entry.key, stage, content.reason, len(content.records), at, entry.size)

    with ThreadPoolExecutor(READERS) as pool:
        batches = [batch for batch in pool.map(describe, listed) if batch is not None]
    return tuple(sorted(batches, key=lambda batch: (batch.stage, batch.key)))


def summarize(batches: Iterable[FailedBatch]) -> tuple[Failure, ...]:
    """Return the failures by reason, those with the most changes first. Reasons that differ only in values are one."""
    groups: dict[tuple[str, str], list[FailedBatch]] = {}
    for batch in batches:
        groups.setdefault((batch.stage, general_reason(batch.reason)), []).append(batch)
    failures = [
        Failure(
            stage=stage,
            reason=reason,
            batches=len(group),
            changes=sum(batch.changes for batch in group),
            oldest=min(batch.at for batch in group).isoformat(timespec="seconds"),
            newest=max(batch.at for batch in group).isoformat(timespec="seconds"),
        )
        for (stage, reason), group in groups.items()
    ]
    return tuple(sorted(failures, key=lambda failure: (-failure.changes, failure.stage, failure.reason)))


def general_reason(reason: str) -> str:
    """Return a reason without the parts that differ from change to change."""
    text = re.sub(r"'[^']*'|\"[^\"]*\"", "…", reason.replace("\n", " "))
    text = re.sub(r"\d[\d,.]*\d|\d", "N", text)
    return text if len(text) <= SHOWN_REASON else f"{text[:SHOWN_REASON]}…"


def read_batch(table: Table, key: str) -> Content | None:
    """Return a batch's content; None where it no longer exists. Raise `RecordError` where it cannot be read."""
    stored = table.store.read(key)
    return None if stored is None else parse_batch(stored.body, key)


def parse_batch(body: bytes, key: str) -> Content:
    """Return the content of an object of the mapping or of the forwarder.

    The mapping's `payload` is the event, as an object or as a string of JSON; the forwarder's `record` is the change.
    Raises `RecordError` for anything else.
    """
    try:
        content = json.loads(body)
        if "record" in content:
            return Content([content["record"]], str(content.get("reason", "")))
        payload = content["payload"]
        event = json.loads(payload) if isinstance(payload, str) else payload
        records = event["Records"]
        if not isinstance(records, list):
            raise TypeError("Records is not an array")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordError(
            f"{key} is not a failed batch ({type(error).__name__}: {error})",
            allowed="an invocation record of Lambda with its payload, or a change that the forwarder rejected",
            action="inspect it, and delete it if nothing in it is needed",
            key=key,
        ) from error
    return Content(records, _mapping_reason(content))


def mapping_prefixes(table: Table) -> list[str]:
    """Return where the table's mappings, present and former, store batches that they gave up: `aws/lambda/{UUID}/`.

    A mapping's source never changes, so one object of a UUID shows its table.
    """
    names = table.names
    failed = names.lake.failed_batches
    prefixes = [f"{failed}{folder}/" for folder in table.store.folders(failed)]
    if not prefixes:
        return []
    current = (stack_outputs(table.clients, names.stack) or {}).get("MappingId")

    def belongs(prefix: str) -> bool:
        if prefix == f"{failed}{current}/":
            return True
        while first := table.store.first(prefix):
            batch = table.store.read(first.key)
            if batch is not None:  # else a redrive has moved it in the meantime
                return comes_from(names, batch.body)
        return False

    with ThreadPoolExecutor(READERS) as pool:
        matches = list(pool.map(belongs, prefixes))
    return [prefix for prefix, match in zip(prefixes, matches, strict=True) if match]


def comes_from(names: TableNames, body: bytes) -> bool:
    """Return whether an invocation record is of the table's stream and of this lake's forwarder."""
    try:
        content = json.loads(body)
        source = str(content["DDBStreamBatchInfo"]["streamArn"])
        function = str(content["requestContext"]["functionArn"])
    except (ValueError, KeyError, TypeError):
        return False
    # arn:aws:dynamodb:region:account:table/NAME/stream/label, arn:aws:lambda:region:account:function:NAME[:qualifier]
    _, _, service, region, account, resource = [*source.split(":", 5), *[""] * 6][:6]
    return (service, region, account) == ("dynamodb", names.lake.region, names.lake.account) and (
        resource.split("/")[:3] == ["table", names.table, "stream"]
        and function.split(":")[6:7] == [names.lake.forwarder]
    )


def _mapping_reason(content: Mapping[str, Any]) -> str:
    condition = (content.get("requestContext") or {}).get("condition") or "no condition"
    error = (content.get("responseContext") or {}).get("functionError")
    return f"{condition}: the function answered {error}" if error else str(condition)


def _choose(table: Table, keys: Sequence[str], chosen: Sequence[str]) -> set[str]:
    names = table.names
    selected: set[str] = set()
    unknown: list[str] = []
    known = set(keys)
    for choice in chosen:
        path = choice.removeprefix(names.uri(""))
        matching = {key for key in known if key == path or (path.endswith("/") and key.startswith(path))}
        if not matching:
            unknown.append(f"{choice}{_why_unknown(table, path)}")
        selected |= matching
    if unknown:
        raise SettingsError(
            f"Not among the failed batches of table {names.table!r}: {'; '.join(unknown)}",
            allowed=f"keys of failed batches, or prefixes that end in /; there are {len(keys):,} batches",
            action="trigger dynalake_redrive with dry_run=true and no batches to list them",
            table=names.table,
        )
    return selected


def _why_unknown(table: Table, key: str) -> str:
    names = table.names
    with suppress(SettingsError, *AWS_ERRORS):  # it may be any text
        if table.store.head(names.redriven(key)):
            return f" (it was replayed already and is at {names.redriven(key)})"
    return ""
