"""Replays failed batches through the forwarder, and marks them done.

A batch is marked only once the forwarder has reported that its changes are stored. After a kill, other batches are
replayed again, and conversion leaves out repeated changes, by item key and sequence number.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

from dynalake.aws.answers import code_of
from dynalake.aws.refusals import AWS_ERRORS
from dynalake.capture.failed.failed import READERS, read_batch
from dynalake.capture.failed.redrive import Chunk
from dynalake.errors import NotReadyError, RecordError, StackError
from dynalake.lake.catalog.table import Table
from dynalake.names import STAGE_FORWARDER

# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html: 6 MB for a synchronous invocation.
EVENT_BYTES = 5 * 1024 * 1024
EVENT_RECORDS = 1000

ATTEMPTS = 4
"""How often one task sends changes that are not stored, before Airflow tries the task again later."""


@dataclass
class Replayed:
    """The result for a chunk. `rejected` maps the batches that cannot pass to their reasons."""

    label: str
    done: int = 0
    changes: int = 0
    gone: int = 0
    """Batches that were marked done before, by an earlier attempt or another run."""
    put_aside: int = 0
    """Changes of a mapping's batch that the forwarder rejected; they are failed batches of their own now."""
    rejected: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return counts, and the first few reasons, for XCom."""
        return {**asdict(self), "rejected": dict(list(self.rejected.items())[:20]), "still": len(self.rejected)}


def replay_chunk(table: Table, run: str, chunk: Chunk, *, sleep: Callable[[float], None] = time.sleep) -> Replayed:
    """Replay a chunk's batches and mark those done that passed; a batch that is gone was done before.

    Raises `NotReadyError` where a stream does not take the changes: marked batches stay so, the rest stays failed.
    """
    result = Replayed(chunk.label)
    for keys, records in _loads(table, chunk, result):
        rejected = _replay(table, records, sleep) if records else {}
        passed = [key for key in keys if key not in rejected]
        if chunk.stage == STAGE_FORWARDER:
            result.rejected |= {key: rejected[key] for key in keys if key in rejected}
            result.changes += len(passed)
        else:
            result.put_aside += len(rejected)
            result.changes += len(records) - len(rejected)
        with ThreadPoolExecutor(READERS) as pool:
            list(pool.map(lambda key: mark_done(table, key, run), passed))
        result.done += len(passed)
    return result


def check_replayed(table: str, chunks: Sequence[Mapping[str, Any]]) -> None:
    """Raise `RecordError` where a batch cannot pass; `chunks` are `Replayed.to_dict()`s."""
    remaining = sum(chunk["still"] for chunk in chunks)
    rejected = sum(chunk["put_aside"] for chunk in chunks)
    if not remaining and not rejected:
        return
    reasons = [f"{key}: {reason}" for chunk in chunks for key, reason in chunk["rejected"].items()]
    raise RecordError(
        f"{remaining:,} batches of table {table!r} cannot pass and stay where they are"
        + (f", and {rejected:,} changes of replayed batches were rejected" if rejected else "")
        + (f". The first: {reasons[0]}" if reasons else ""),
        allowed="stream records with an image of DynamoDB's attribute values",
        action="inspect the objects: delete those that DynamoDB never wrote; for the others, run dynalake_setup with a "
        "version that can encode them, and trigger dynalake_redrive again. Everything else is replayed and marked "
        "done",
        table=table,
    )


def mark_done(table: Table, key: str, run: str) -> None:
    """Move a batch to the replayed ones (`{prefix}-errors/done/{TABLE}/`), unless that was done before."""
    bucket = table.names.lake.bucket
    try:
        table.clients.s3.copy_object(
            Bucket=bucket,
            Key=table.names.redriven(key),
            CopySource={"Bucket": bucket, "Key": key},
            ContentType="application/json",
            Metadata={"dynalake-run": run.encode("ascii", "replace").decode()},
            MetadataDirective="REPLACE",
        )
    except Exception as error:
        if code_of(error) in ("NoSuchKey", "404"):
            return
        raise
    table.store.delete(key)


def events(records: Sequence[Any], size: int = EVENT_BYTES, count: int = EVENT_RECORDS) -> Iterator[list[Any]]:
    """Yield records as events that Lambda takes: up to `size` bytes and `count` records; a larger one alone (pure)."""
    held: list[Any] = []
    held_size = 0
    for record in records:
        length = len(_encode(record))
        if held and (held_size + length > size or len(held) == count):
            yield held
            held, held_size = [], 0
        held.append(record)
        held_size += length
    if held:
        yield held


def _loads(table: Table, chunk: Chunk, result: Replayed) -> Iterator[tuple[list[str], list[Any]]]:
    """Yield batches that are sent and marked together: a mapping's one by one, single changes many at once."""
    keys: list[str] = []
    records: list[Any] = []
    size = 0
    for key in chunk.keys:
        try:
            content = read_batch(table, key)
        except RecordError as error:
            result.rejected[key] = str(error)
            continue
        if content is None:
            result.gone += 1
            continue
        length = sum(len(_encode(record)) for record in content.records)
        together = chunk.stage == STAGE_FORWARDER and size + length <= EVENT_BYTES and len(keys) < EVENT_RECORDS
        if keys and not together:
            yield keys, records
            keys, records, size = [], [], 0
        keys.append(key)
        records += content.records
        size += length
    if keys:
        yield keys, records


def _replay(table: Table, records: Sequence[Any], sleep: Callable[[float], None]) -> dict[str, str]:
    """Send records until all are stored or rejected. Return the rejected ones, by key."""
    rejected: dict[str, str] = {}
    for event in events(records):
        pending = event
        for attempt in range(1, ATTEMPTS + 1):
            answer = _invoke(table, pending)
            rejected |= {str(entry["key"]): str(entry["reason"]) for entry in answer["rejected"]}
            pending = _unstored(pending, answer["batchItemFailures"])
            if not pending:
                break
            if attempt == ATTEMPTS:
                reasons = ", ".join(f"{code} ({count:,}×)" for code, count in answer["errors"].items())
                raise NotReadyError(
                    f"{len(pending):,} of {len(event):,} replayed changes of table {table.names.table!r} are not "
                    f"stored: {reasons or 'the forwarder had no time left, or could not store a rejected change'}",
                    allowed="a stream that takes them",
                    action="wait: the task is tried again, and changes that are not stored stay failed. Raise the "
                    "shards if the stream is throttled",
                    table=table.names.table,
                )
            sleep(2.0 ** (attempt - 1))
    return rejected


def _unstored(records: list[Any], failures: Sequence[dict[str, str]]) -> list[Any]:
    """Return what Lambda would send again for this answer: everything from the first failure."""
    if not failures:
        return []
    numbers = {failure.get("itemIdentifier") for failure in failures}
    for position, record in enumerate(records):
        change = record.get("dynamodb") if isinstance(record, dict) else None
        if isinstance(change, dict) and change.get("SequenceNumber") in numbers:
            return records[position:]
    return records


def _invoke(table: Table, records: Sequence[Any]) -> dict[str, Any]:
    names = table.names
    request = {"dynalake": "redrive", "table": names.table, "Records": records}
    try:
        answer = table.clients.lambda_.invoke(
            FunctionName=names.lake.forwarder, InvocationType="RequestResponse", Payload=_encode(request)
        )
        content = json.loads(answer["Payload"].read())
    except AWS_ERRORS as error:
        raise NotReadyError(
            f"The forwarder {names.lake.forwarder} cannot be invoked: {error}",
            allowed="a forwarder that answers, and lambda:InvokeFunction on it for the AWS connection",
            table=names.table,
        ) from error
    if answer.get("FunctionError"):
        raise NotReadyError(
            f"The forwarder fails: {content.get('errorType', '')}: {content.get('errorMessage', content)}",
            action=f"if this goes on, read the log /aws/lambda/{names.lake.forwarder}",
            table=names.table,
        )
    if "rejected" not in content:
        raise StackError(
            f"The deployed forwarder {names.lake.forwarder} is older than these DAGs and cannot replay",
            action=f"run dynalake_setup for table {names.table!r}, which updates it, then trigger the DAG again",
            table=names.table,
        )
    return dict(content)


def _encode(value: Any) -> bytes:
    # A lone surrogate is legal in JSON text, but not in UTF-8.
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        return text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()
