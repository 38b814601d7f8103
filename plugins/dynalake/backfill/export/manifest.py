"""The content of an export's manifests: which files it has, how many items each, and their checksums.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/S3DataExport.Output.html
"""

from __future__ import annotations

import heapq
import json
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import md5
from typing import Any

from dynalake.backfill.export.export import Finished
from dynalake.backfill.plan.filter import to_iso
from dynalake.backfill.plan.run import count_segments, load_plan, run_name
from dynalake.errors import LedgerError, NotReadyError
from dynalake.lake.catalog.table import Table
from dynalake.names import TableNames

# AWS documents the second ending and writes the first.
_CHECKSUMS = ("md5", "checksum")
# How far the clocks of Airflow and of DynamoDB may differ. The stream has the changes of that time: it is read from
# before the hand-off.
CLOCKS_MS = 60_000


@dataclass(frozen=True)
class DataFile:
    """One data file as `manifest-files.json` has it; `md5` is base64.

    `window_end` is where the window of its incremental export ends, in seconds since the epoch; 0 for a full export.
    """

    key: str
    items: int
    md5: str
    window_end: int = 0


@dataclass(frozen=True)
class Manifest:
    """One export's files, in the order of their keys. `size` is what DynamoDB bills for, in bytes."""

    items: int
    size: int
    files: tuple[DataFile, ...]


@dataclass(frozen=True)
class Groups:
    """The files of all exports of a run, in groups for its tasks, and the number of all items.

    `exported_at` is the moment at which the table is shown (milliseconds; None for an incremental export). `vanished`:
    the last group has no files; its task finds items that came and went within the windows.
    """

    items: int
    exported_at: int | None
    groups: tuple[tuple[DataFile, ...], ...]
    vanished: bool = False

    @property
    def count(self) -> int:
        """Number of files."""
        return sum(map(len, self.groups))

    def to_json(self) -> dict[str, Any]:
        groups = [[asdict(file) for file in group] for group in self.groups]
        return {"items": self.items, "exported_at": self.exported_at, "groups": groups, "vanished": self.vanished}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Groups:
        groups = tuple(tuple(DataFile(**file) for file in group) for group in value["groups"])
        return cls(value["items"], value["exported_at"], groups, value.get("vanished", False))


def read_manifest(table: Table, run: str, finished: Finished) -> Manifest:
    """Return the manifest of a completed export. Raise `LedgerError` where its checksums or its sums do not hold."""
    names = table.names
    prefix = names.export_prefix(run)
    folder = f"{prefix}AWSDynamoDB/{finished.export.id}/"
    summary = json.loads(_read_checked(table, f"{folder}manifest-summary"))
    lines = _read_checked(table, f"{folder}manifest-files").splitlines()
    files = tuple(
        sorted((_data_file(prefix, finished, json.loads(line)) for line in lines if line.strip()), key=lambda f: f.key)
    )
    listed = sum(file.items for file in files)
    if not listed == summary["itemCount"] == finished.items:
        raise _broken(
            names,
            f"{names.uri(folder)} lists files with {listed:,} items altogether, but its summary says "
            f"{summary['itemCount']:,}, and DynamoDB {finished.items:,}",
        )
    return Manifest(listed, summary.get("billedSizeBytes", 0), files)


def plan_groups(files: Iterable[DataFile], count: int) -> tuple[tuple[DataFile, ...], ...]:
    """Return at most `count` groups of about as many items each; always the same for the same files (pure).

    There is always one, even without files.
    """
    ordered = sorted(files, key=lambda file: (-file.items, file.key))
    groups: list[list[DataFile]] = [[] for _ in range(max(1, min(count, len(ordered))))]
    loads = [(0, 0, number) for number in range(len(groups))]
    for file in ordered:
        items, files_held, number = heapq.heappop(loads)
        groups[number].append(file)
        heapq.heappush(loads, (items + file.items, files_held + 1, number))
    return tuple(tuple(sorted(group, key=lambda file: file.key)) for group in groups)


def groups_key(names: TableNames, run: str) -> str:
    """Return `{prefix}-state/{TABLE}/backfill/{run}/files.json`"""
    return f"{names.backfill_state(run)}files.json"


def store_groups(table: Table, finished: Sequence[Finished], *, run: str) -> Groups:
    """Decide which task reads which files, once per run (the Airflow run id)."""
    run = run_name(run)
    plan = load_plan(table, run)
    manifests = [read_manifest(table, run, export) for export in finished]
    files = [file for manifest in manifests for file in manifest.files]
    _check_time(table.names, finished[0], plan.read_at_ms)
    groups = plan_groups(files, count_segments(sum(manifest.size for manifest in manifests), plan.segments))
    vanished = plan.window is not None
    grouped = Groups(
        items=sum(manifest.items for manifest in manifests),
        exported_at=finished[0].time,
        groups=(*groups, ()) if vanished else groups,
        vanished=vanished,
    )
    return Groups.from_json(table.store.create_json(groups_key(table.names, run), grouped.to_json()).value)


def find_groups(table: Table, *, run: str) -> Groups | None:
    """Return the groups of a run (the Airflow run id); None where they are not decided yet."""
    return _find_groups(table, run_name(run))


def load_groups(table: Table, run: str) -> Groups:
    """Return the groups of a run (its name). Raise `NotReadyError` where they are not decided yet."""
    groups = _find_groups(table, run)
    if groups is None:
        raise NotReadyError(
            f"The export of the backfill run {run!r} is not complete yet",
            allowed="a completed export",
            action="run the export task of dynalake_backfill first",
            table=table.names.table,
            run=run,
        )
    return groups


def _find_groups(table: Table, run: str) -> Groups | None:
    stored = table.store.read_json(groups_key(table.names, run))
    return None if stored is None else Groups.from_json(stored.value)


def checksum(content: bytes) -> str:
    """Return the MD5 as the manifests have it: base64."""
    return b64encode(md5(content, usedforsecurity=False).digest()).decode()


def _check_time(names: TableNames, finished: Finished, planned_ms: int) -> None:
    if finished.time is not None and finished.time < planned_ms - CLOCKS_MS:
        raise _broken(
            names,
            f"{finished.export.arn} shows the table at {to_iso(finished.time * 1000)}, before it was planned "
            f"({to_iso(planned_ms * 1000)}): changes written between the two might be missing",
        )


def _data_file(prefix: str, finished: Finished, entry: Mapping[str, Any]) -> DataFile:
    key = entry["dataFileS3Key"]
    # AWS writes it from the root of the bucket; AWS's own example leaves the prefix out.
    key = key if key.startswith(prefix) else f"{prefix}{key}"
    window = finished.export.window
    return DataFile(key, entry["itemCount"], entry["md5Checksum"], 0 if window is None else window[1])


def _read_checked(table: Table, stem: str) -> bytes:
    names = table.names
    manifest = table.store.read(f"{stem}.json")
    if manifest is None:
        raise _broken(names, f"{names.uri(stem)}.json does not exist")
    for ending in _CHECKSUMS:
        stored = table.store.read(f"{stem}.{ending}")
        if stored is not None and stored.body.decode(errors="replace").strip() != checksum(manifest.body):
            raise _broken(names, f"{names.uri(stem)}.json does not match its checksum in .{ending}")
    return manifest.body


def _broken(names: TableNames, received: str) -> LedgerError:
    return LedgerError(
        received,
        allowed="the manifests as DynamoDB wrote them",
        action="trigger dynalake_backfill again: a new run makes a new export, and the previous snapshot stays until "
        "the run is committed",
        table=names.table,
    )
