"""Files that are replaced by others with the same rows: what must hold at the commit, and what is kept.

A conversion adds rows; every other change of files of `{t}` only gives its rows other files: closing a day, widening a
type, taking over files of another engine. One set of rules holds for all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pyiceberg.schema import Schema
from pyiceberg.types import MapType

from dynalake.errors import ConflictError, LedgerError
from dynalake.lake.catalog.commit import check_age, check_fields, check_live
from dynalake.lake.catalog.iceberg import DataFile, Head, News
from dynalake.lake.files.folders import FolderManifest, Input, Sums
from dynalake.lake.files.parts import parts_of
from dynalake.lake.types.union import Type, merge, type_from_json, type_to_json
from dynalake.record.change import OTHER

Misfits = Mapping[str, Any]
"""Attribute → `{"type": …, "count": …}` of its values in `__other`, as folders' manifests have it."""


@dataclass(frozen=True)
class Rewrite:
    """One day's files, and those that replace them: `added` are in one new folder, whose manifest is `manifest`.

    `held`: the schema of the new files.
    """

    replaced: tuple[DataFile, ...]
    added: tuple[DataFile, ...]
    held: Schema
    manifest: FolderManifest


def check_rewrite(head: Head, news: News, rewrite: Rewrite, now: int) -> None:
    """Raise `ConflictError` unless a rewrite may be committed on this head. `now`: milliseconds since the epoch.

    All replaced files must be live, with the rows that were read, and nothing else may be live in their folders, which
    end with it: the new folder names what the old ones named. Files that others have added since then stay.
    """
    check_age(head, rewrite.manifest.made_at, now)
    check_fields(rewrite.held, head)
    check_live(head, rewrite.replaced, news)
    read = {f.path for f in rewrite.replaced}
    folders = {f.folder for f in rewrite.replaced} - {""}
    for file in head.files({rewrite.manifest.day}):
        if file.folder in folders and file.path not in read:
            raise ConflictError(
                f"The folder {file.folder} of {head.name} has gained another live file, {file.path}",
                action="plan again from the table as it is now",
                table=head.name,
            )


def check_rows(head: Head, replaced: Iterable[DataFile], deleted: int, added: Iterable[DataFile]) -> None:
    """Raise `LedgerError` unless as many rows were written as the files have, without those deleted in them."""
    before, after = sum(f.rows for f in replaced) - deleted, sum(f.rows for f in added)
    if before != after:
        raise LedgerError(
            f"{before:,} rows of {head.name} were to be written again, and {after:,} were written",
            action="nothing was committed; run it again, and report it if it happens again",
            table=head.name,
        )


def name_folder(
    folder: str,
    day: str,
    made_at: int,
    added: Iterable[DataFile],
    old: Iterable[FolderManifest | None],
    misfits: Misfits,
) -> FolderManifest:
    """Return the manifest of a folder that replaces others: it names all that they named."""
    known = [manifest for manifest in old if manifest is not None]
    inputs: dict[Input, None] = {i: None for manifest in known for i in manifest.inputs}
    parts = parts_of(added)
    rows = sum(p.rows for p in parts)
    run = max((manifest.run for manifest in known), default=0)
    return FolderManifest(folder, day, made_at, tuple(inputs), parts, Sums(rows, rows), dict(misfits), run)


def join_misfits(manifests: Iterable[FolderManifest | None]) -> dict[str, Any]:
    """Return what is in `__other` of several folders, by attribute."""
    types: dict[str, Type] = {}
    counts: Counter[str] = Counter()
    for manifest in manifests:
        for attribute, misfit in ({} if manifest is None else manifest.misfits).items():
            seen = type_from_json(misfit["type"])
            types[attribute] = merge(types[attribute], seen) if attribute in types else seen
            counts[attribute] += misfit["count"]
    return {a: {"type": type_to_json(types[a]), "count": counts[a]} for a in sorted(types)}


def less(misfits: Misfits, gone: Counter[str]) -> dict[str, Any]:
    """Return the misfits without `gone` values of each attribute; types stay, since it is unknown which are gone."""
    left = {a: {**misfit, "count": misfit["count"] - gone[a]} for a, misfit in misfits.items()}
    return {a: misfit for a, misfit in left.items() if misfit["count"] > 0}


def holds_fields(file: DataFile, ids: Collection[int]) -> bool:
    """Return whether a file has columns or fields with one of these ids. It may where its writer did not say."""
    sizes = file.iceberg.column_sizes
    return bool(file.rows) and (not sizes or any(i in sizes for i in ids))


def holds_other(file: DataFile) -> bool:
    """Return whether something may wait in the column `__other` of a file."""
    of = file.schema.find_type(OTHER)
    assert isinstance(of, MapType)
    if not holds_fields(file, {of.key_id}):
        return False
    values = (file.iceberg.value_counts or {}).get(of.key_id)
    nulls = (file.iceberg.null_value_counts or {}).get(of.key_id)
    return values is None or nulls is None or values > nulls


def leaf_ids(schema: Schema, column: str) -> frozenset[int]:
    """Return the ids that a file has for a column: its own, or those of the leaves in it."""
    part = schema.select(column)
    return frozenset(i for i in part.field_ids if part.find_type(i).is_primitive)
