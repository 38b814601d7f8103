"""An Iceberg table whose Glue entry was lost, damaged or put back is brought back from the metadata in the bucket.

Which metadata was the table's last? Each commit is noted after it has landed (`lake/metadata_note.py`), so noted
metadata was current. A commit may have landed without its note: its metadata is in the bucket, and so is that of
refused commits, with the same number and the same log. Nothing tells these apart, unless another metadata file names
one as its predecessor: a commit is always made on current metadata. So the last noted or named one is taken. The
content of a commit that is left out is not lost: no live folder names its raw objects any more, so they are converted
again, and each change is kept once; its files are garbage. Its changes are merged into the state again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pyiceberg.catalog import METADATA_LOCATION

from dynalake.errors import CatalogError
from dynalake.lake.catalog.file_io import key_of
from dynalake.lake.catalog.iceberg import Change, Head
from dynalake.lake.catalog.metadata_note import Note, leads_to, metadata_number, note_metadata, read_note, replace_note
from dynalake.lake.catalog.table import Table
from dynalake.lake.current.view_entries import read_entry
from dynalake.lake.files.references import stream_files
from dynalake.lake.tables.copied import is_copied, readdress
from dynalake.lake.working.findings import Finding

_MARGIN = 3_600_000  # milliseconds, for differing clocks of two machines, and long merges

_BACK = 3_600_000  # milliseconds, by which a copy may lack the newest files; with an older one lost, it is not a copy

_MOST_READ = 300  # metadata files that are read to find the last: each names the hundred before it


@dataclass(frozen=True)
class Restored:
    """A table as it is now, or None where it was never made; what was found, and what was done about it."""

    head: Head | None
    finding: Finding | None = None


def bring_back(table: Table, name: str) -> Restored:
    """Return the table; brought back where its Glue entry is missing, damaged, or names metadata that is gone or older.

    Another call, or one after a kill, gives the same. Raises `CatalogError` where no metadata of it is left.
    """
    note = read_note(table, name)
    damaged = named = ""
    try:
        head = table.catalog.find(name)
        if head is not None:
            return _follow(table, head, note)
    except CatalogError as error:
        damaged = error.received
        named = ((read_entry(table, name) or {}).get("Parameters") or {}).get(METADATA_LOCATION, "")
        if named and _read(table, name, named) is not None:
            raise  # another run is bringing it back, or the entry says that it is something else
    last = find_last(table, name, note)
    if last is None:
        if note is None and not damaged:
            return Restored(None)
        raise lost(table, name, note, "no metadata of it is left")
    head = _restore(table, last, note, named)
    return Restored(
        head,
        Finding(
            "restored-entry",
            name,
            damaged or f"The Glue table {name} was gone",
            f"done: it names {head.metadata_location} again; what was committed after that is converted again",
        ),
    )


def find_last(table: Table, name: str, note: Note | None) -> Head | None:
    """Return the table by the last metadata that was certainly current, and whose files are there.

    In a copy that was made while the table was written, the last commits may lack files: then it is an earlier one, of
    the same hour. None where the bucket has no metadata of it. Raises `CatalogError` where it has some, and none that
    will do.
    """
    keys = _list_table(table, name, note)
    metadata = sorted((k for k in keys if k.endswith(".metadata.json")), key=metadata_number, reverse=True)
    logs = {}
    for key in metadata[:_MOST_READ]:
        head = _read(table, name, table.names.uri(key))
        if head is not None and (note is None or head.uuid == note.uuid):
            logs[key] = frozenset(_log(head))
    if not logs:
        return None
    order = order_known(logs, None if note is None else key_of(note.metadata_location))
    if rival := find_rival(order, logs):
        what = f"two histories of it are there, up to {order[0]} and {rival}, and nothing says which of them counts"
        raise lost(table, name, note, what)
    newest = _read(table, name, table.names.uri(order[0])) if order else None
    if newest is None:
        raise lost(table, name, note, "nothing says which of its metadata was its last")
    missing = ""
    for key in order:
        head = _read(table, name, table.names.uri(key))
        if head is None or _updated_at(head) < _updated_at(newest) - _BACK:
            break
        gone = _first_missing(head, keys)
        if gone is None:
            return head
        missing = missing or f"its metadata {key} names {gone}, which is gone"
    raise lost(table, name, note, missing)


def _updated_at(head: Head) -> int:
    """Return when a table's metadata was written (milliseconds)."""
    return head.iceberg.metadata.last_updated_ms


def lost(table: Table, name: str, note: Note | None, why: str) -> CatalogError:
    """Return the error for a table that cannot be brought back, with what to do."""
    place = table.names.uri(_location(table, name))
    return CatalogError(
        f"The Glue table {name} is gone or damaged, and {why}",
        allowed="metadata that is known to have been the table's last, with all files that it names",
        action=f"restore {note.metadata_location if note else 'its metadata'} and the objects below {place}/ (the "
        f"bucket keeps versions), then run dynalake_setup again; to make the table from the raw objects again, delete "
        f"all objects below {place}/, and {table.names.metadata_note(name)}",
        table=table.names.table,
    )


def order_known(logs: Mapping[str, Collection[str]], noted: str | None) -> tuple[str, ...]:
    """Return the metadata that is known to have been current, the last first. `logs`: metadata → its predecessors.

    Where the noted one is there, it is only those that came from it, and then those that it came from.
    """
    named = {path for log in logs.values() for path in log}
    known = [path for path in logs if path == noted or path in named or len(logs) == 1]
    if noted is not None and noted in logs:
        known = [path for path in known if path == noted or noted in logs[path] or path in logs[noted]]
    return tuple(sorted(known, key=metadata_number, reverse=True))


def find_rival(order: Sequence[str], logs: Mapping[str, Collection[str]]) -> str | None:
    """Return known metadata that is of the time of the first one's predecessors, and none of them; None for none."""
    if not order:
        return None
    before = logs[order[0]]
    oldest = min((metadata_number(key) for key in before), default=metadata_number(order[0]))
    return next((key for key in order[1:] if metadata_number(key) >= oldest and key not in before), None)


def note_restored(table: Table, before: Head) -> None:
    """Note that commits behind this one, of either table, are lost until their changes are merged again."""
    snapshot = before.iceberg.metadata.current_snapshot()
    since = 0 if snapshot is None else snapshot.timestamp_ms - _MARGIN
    noted = restored_since(table)
    note = {"since": since if noted is None else min(since, noted)}
    table.store.write_json(table.names.restored_note(table.names.state_table), note)


def restored_since(table: Table) -> int | None:
    """Return since when (milliseconds) changes have to be merged into a restored state again; None for none."""
    note = table.store.read_json(table.names.restored_note(table.names.state_table))
    return None if note is None else int(note.value["since"])


def forget_restored(table: Table) -> None:
    """Note that all was merged again."""
    table.store.delete(table.names.restored_note(table.names.state_table))


def _follow(table: Table, head: Head, note: Note | None) -> Restored:
    """Return what has to be done about a table that Glue has."""
    if note is None or leads_to(note, head):
        note_metadata(table, head)
        return Restored(_with_snapshot(table, head))
    if note.uuid != head.uuid:
        return Restored(
            head,
            Finding(
                "other-table",
                head.name,
                f"The Glue table {head.name} is not the one whose metadata is {note.metadata_location}",
                f"nothing: no file of either is deleted; delete the object {table.names.metadata_note(head.name)} if "
                "the table was made again on purpose, else drop it and run dynalake_setup",
            ),
        )
    noted = _read(table, head.name, note.metadata_location)
    if noted is None or key_of(head.metadata_location) not in _log(noted):
        return Restored(
            head,
            Finding(
                "two-histories",
                head.name,
                f"The Glue table {head.name} was put back to metadata older than {note.metadata_location}, and commits "
                f"were made on top of it: {head.metadata_location}",
                "nothing: no file of either is deleted; make Glue name the one to keep, and delete the object "
                f"{table.names.metadata_note(head.name)}",
            ),
        )
    last = find_last(table, head.name, note) or noted
    return Restored(
        _restore(table, last, note, instead_of=head.metadata_location),
        Finding(
            "put-back",
            head.name,
            f"A program put the Glue table {head.name} back to {head.metadata_location}: it wrote old values of the "
            "table's parameters",
            f"done: it names {last.metadata_location} again; find the program that writes them (Terraform, a crawler)",
        ),
    )


def _restore(table: Table, last: Head, note: Note | None, instead_of: str = "") -> Head:
    if is_copied(table, last):
        last = readdress(table, last)
    note_restored(table, last)
    if note is not None and not leads_to(note, last):
        replace_note(table, last)
    table.catalog.make_database()
    head = table.catalog.restore(last, instead_of)
    note_metadata(table, head)
    return _with_snapshot(table, head)


def _with_snapshot(table: Table, head: Head) -> Head:
    """Return the table; its creation may have been killed before its first snapshot."""
    return head if head.snapshot_id is not None else table.catalog.commit(head, Change(note={"dynalake": "created"}))


def _location(table: Table, name: str) -> str:
    return table.names.changes_location if name == table.names.changes_table else table.names.items_location


def _list_table(table: Table, name: str, note: Note | None) -> frozenset[str]:
    """Return the keys of all objects below the table's location."""
    location = _location(table, name) if note is None else key_of(note.metadata_location).rpartition("/metadata/")[0]
    return frozenset(stored.key for stored in table.store.list(f"{location}/"))


def _read(table: Table, name: str, address: str) -> Head | None:
    try:
        return table.catalog.read(name, address)
    except (FileNotFoundError, ValueError):  # gone, or not metadata
        return None


def _log(head: Head) -> Iterator[str]:
    """Yield the keys of the metadata before."""
    return (key_of(entry.metadata_file) for entry in head.iceberg.metadata.metadata_log)


def _first_missing(head: Head, keys: Collection[str]) -> str | None:
    """Return the key of a file that the current snapshot names and that is gone; None where all are there."""
    snapshot = head.iceberg.metadata.current_snapshot()
    if snapshot is None:
        return None
    if key_of(snapshot.manifest_list) not in keys:
        return key_of(snapshot.manifest_list)
    manifests = (m.manifest_path for m in snapshot.manifests(head.iceberg.io))
    return _missing(manifests, keys) or _missing((f.path for f in stream_files(head)), keys)


def _missing(addresses: Iterable[str], keys: Collection[str]) -> str | None:
    return next((key for key in map(key_of, addresses) if key not in keys), None)
