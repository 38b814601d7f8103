"""A note of where the latest metadata of an Iceberg table is, kept next to the catalog.

Glue's entry can be lost: dropped by somebody, or its parameters replaced by a crawler. The table is then registered
again from here and not created again: a new table would number its columns again, and no file could be read by them.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from botocore.exceptions import ClientError

from dynalake.lake.catalog.iceberg import Head
from dynalake.lake.catalog.table import Table

_CHANGED = ("PreconditionFailed", "412", "ConditionalRequestConflict", "409")


@dataclass(frozen=True)
class Note:
    """The table's own id, and the location of the metadata that was its latest when this was written."""

    uuid: str
    metadata_location: str


def note_metadata(table: Table, head: Head) -> None:
    """Keep the location of the head's metadata, unless a later one, or another table's, is kept already."""
    names = table.names
    while True:
        kept, etag = _read(table, head.name)
        if kept is not None and (
            kept.uuid != head.uuid or metadata_number(kept.metadata_location) >= metadata_number(head.metadata_location)
        ):
            return
        body = json.dumps({"uuid": head.uuid, "metadata_location": head.metadata_location}).encode()
        key = names.metadata_note(head.name)
        try:
            if etag is None:
                table.clients.s3.put_object(Bucket=names.lake.bucket, Key=key, Body=body, IfNoneMatch="*")
            else:
                table.clients.s3.put_object(Bucket=names.lake.bucket, Key=key, Body=body, IfMatch=etag)
        except ClientError as error:
            if error.response["Error"]["Code"] in _CHANGED:
                continue
            raise
        return


def noted_metadata(table: Table, glue_table: str) -> str | None:
    """Return the location that is kept, or None."""
    kept = read_note(table, glue_table)
    return None if kept is None else kept.metadata_location


def read_note(table: Table, glue_table: str) -> Note | None:
    """Return the note that is kept of a table, or None."""
    return _read(table, glue_table)[0]


def leads_to(note: Note, head: Head) -> bool:
    """Return whether the head is the one the note names, or came from it: then no commit of the table is lost."""
    log = (entry.metadata_file for entry in head.iceberg.metadata.metadata_log)
    return note.uuid == head.uuid and note.metadata_location in (head.metadata_location, *log)


def metadata_number(location: str) -> int:
    """Return the number of a metadata file: `…/metadata/00012-{uuid}.metadata.json` → 12."""
    match = re.search(r"/(\d+)-[^/]+\.metadata\.json$", location)
    return int(match.group(1)) if match else -1


def _read(table: Table, glue_table: str) -> tuple[Note | None, str | None]:
    try:
        answer = table.clients.s3.get_object(Bucket=table.names.lake.bucket, Key=table.names.metadata_note(glue_table))
    except ClientError as error:
        if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
            return None, None
        raise
    with answer["Body"] as body:
        return Note(**json.loads(body.read())), answer["ETag"]
