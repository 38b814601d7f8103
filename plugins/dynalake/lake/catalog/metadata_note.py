"""A note of where the latest metadata of an Iceberg table is, kept next to the catalog.

Glue's entry can be lost: dropped by somebody, or its parameters replaced by a crawler. The table is then registered
again from here and not created again: a new table would number its columns again, and no file could be read by them.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import asdict, dataclass

from dynalake.aws.s3 import Json
from dynalake.errors import ConflictError
from dynalake.lake.catalog.iceberg import Head
from dynalake.lake.catalog.table import Table


@dataclass(frozen=True)
class Note:
    """The table's own id, and the location of the metadata that was its latest when this was written."""

    uuid: str
    metadata_location: str


def note_metadata(table: Table, head: Head) -> None:
    """Keep the location of the head's metadata, unless a later one, or another table's, is kept already."""
    key, note = table.names.metadata_note(head.name), Note(head.uuid, head.metadata_location)
    while True:
        stored = table.store.read_json(key)
        kept = _note(stored)
        if kept is not None and (
            kept.uuid != head.uuid or metadata_number(kept.metadata_location) >= metadata_number(head.metadata_location)
        ):
            return
        with suppress(ConflictError):
            table.store.replace_json(key, asdict(note), stored)
            return


def replace_note(table: Table, head: Head) -> None:
    """Keep the location of the head's metadata, whatever is kept: what was noted cannot be the table's any more."""
    table.store.write_json(table.names.metadata_note(head.name), asdict(Note(head.uuid, head.metadata_location)))


def noted_metadata(table: Table, glue_table: str) -> str | None:
    """Return the location that is kept, or None."""
    kept = read_note(table, glue_table)
    return None if kept is None else kept.metadata_location


def read_note(table: Table, glue_table: str) -> Note | None:
    """Return the note that is kept of a table, or None."""
    return _note(table.store.read_json(table.names.metadata_note(glue_table)))


def leads_to(note: Note, head: Head) -> bool:
    """Return whether the head is the one the note names, or came from it: then no commit of the table is lost."""
    log = (entry.metadata_file for entry in head.iceberg.metadata.metadata_log)
    return note.uuid == head.uuid and note.metadata_location in (head.metadata_location, *log)


def metadata_number(location: str) -> int:
    """Return the number of a metadata file: `…/metadata/00012-{uuid}.metadata.json` → 12."""
    match = re.search(r"/(\d+)-[^/]+\.metadata\.json$", location)
    return int(match.group(1)) if match else -1


def _note(stored: Json | None) -> Note | None:
    return None if stored is None else Note(**stored.value)
