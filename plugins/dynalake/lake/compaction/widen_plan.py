"""Which of a table's types widen in one run, and the cost: decided from manifests and files' bounds alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

from pyiceberg.types import DecimalType, LongType

from dynalake.lake.catalog.iceberg import DataFile, Head
from dynalake.lake.catalog.table import Table
from dynalake.lake.columns.schema import TableSchema
from dynalake.lake.compaction.retype_files import changed_columns
from dynalake.lake.files.folders import read_manifests
from dynalake.lake.files.rewrite import Misfits, holds_fields, holds_other, join_misfits, leaf_ids
from dynalake.lake.tables.grow import grown, schema_of
from dynalake.lake.types.union import Number, Type, takes, type_from_json


@dataclass(frozen=True)
class WideningPlan:
    """The columns after a widening. `changed`: attributes whose columns change. `size`: bytes that are written again.

    `lifts`: attributes whose values in `__other` fit their columns afterwards. `left`: attributes that have to wait,
    and the bytes by which they exceed the budget.
    """

    after: TableSchema
    changed: tuple[str, ...] = ()
    lifts: frozenset[str] = frozenset()
    size: int = 0
    left: Mapping[str, int] = field(default_factory=dict)


def plan_widening(
    before: TableSchema,
    misfits: Misfits,
    numbers: Mapping[str, Number],
    sizes: Callable[[str], Mapping[Any, int]],
    budget: int,
    *,
    allow: bool = False,
) -> WideningPlan:
    """Return what the columns become, within the budget of bytes: first those that most values wait for.

    `numbers`: what number columns hold, by attribute. `sizes` returns what has to be written again for an attribute:
    bytes by a key, such as a folder, that is written once for all attributes that need it. The budget does not bound
    what a user has pinned. `allow`: closed columns become wider, too.
    """
    columns = before.opened if allow else before
    observed = {a: type_from_json(misfit["type"]) for a, misfit in misfits.items()}
    spending = _Spending(sizes, budget)
    for column in changed_columns(before, columns.widen_for({}, numbers=numbers)):
        spending.take(column.attribute)
    full = columns.widen_for(observed, numbers=numbers)
    wider = [c.attribute for c in changed_columns(before, full) if c.attribute not in spending.taken]
    by_count = sorted(wider, key=lambda a: (-misfits[a]["count"], a))
    chosen = [a for a in by_count if spending.offer(a)]
    after = columns.widen_for({a: observed[a] for a in chosen}, numbers=numbers)
    # An attribute without a column gets one by growth, for which no file is written again.
    after = replace(before, columns=tuple(c for c in after.columns if c.attribute in before.known))
    fitting = sorted(find_lifts(after, observed), key=lambda a: (-misfits[a]["count"], a))
    lifts = frozenset(a for a in fitting if spending.offer(a))
    changed = tuple(c.attribute for c in changed_columns(before, after))
    return WideningPlan(after, changed, lifts, spending.size, spending.left)


_NO_BUDGET = 1 << 62


class _Spending:
    """A budget of bytes, of which some attributes take nothing more once others have been taken."""

    def __init__(self, sizes: Callable[[str], Mapping[Any, int]], budget: int) -> None:
        self._sizes, self._budget = sizes, budget
        self._units: dict[Any, int] = {}
        self.taken: set[str] = set()
        self.left: dict[str, int] = {}

    @property
    def size(self) -> int:
        return sum(self._units.values())

    def take(self, attribute: str) -> None:
        self._units |= self._sizes(attribute)
        self.taken.add(attribute)

    def offer(self, attribute: str) -> bool:
        """Take an attribute if there is room for it. Return whether there was."""
        if attribute in self.taken:
            return True
        more = sum(size for unit, size in self._sizes(attribute).items() if unit not in self._units)
        if self.size + more > self._budget:
            self.left[attribute] = more
            return False
        self.take(attribute)
        return True


def find_lifts(schema: TableSchema, observed: Mapping[str, Type]) -> frozenset[str]:
    """Return the attributes whose columns hold their values in `__other`, of these types."""
    known = schema.known
    return frozenset(a for a, of in observed.items() if a in known and takes(known[a].type, of))


def count_widening(table: Table, changes: Head, state: Head) -> int:
    """Return how many bytes would be written again if all values in `__other` went to their columns."""
    return plan_types(table, changes, state, _NO_BUDGET).size


def plan_types(table: Table, changes: Head, state: Head, budget: int, *, allow: bool = False) -> WideningPlan:
    """Return what the columns become within the budget of bytes, once attributes have the columns that they may get."""
    contents = Contents(table, changes, state)
    observed = {a: type_from_json(misfit["type"]) for a, misfit in contents.misfits.items()}
    before = grown(schema_of(changes), observed, allow=allow)
    return plan_widening(before, contents.misfits, contents.numbers, contents.sizes, budget, allow=allow)


class Contents:
    """What the live files of both tables hold, as far as their bounds and manifests say; these are read once."""

    def __init__(self, table: Table, changes: Head, state: Head) -> None:
        self._heads = tuple((head, schema_of(head), head.files()) for head in (changes, state))
        _, self._schema, files = self._heads[0]
        folders = {f.folder for f in files if f.rows and f.folder and holds_other(f)}
        self._manifests = read_manifests(table, folders)
        self._bytes: Counter[tuple[Any, str]] = Counter()
        for file in files:
            self._bytes[_unit(file)] += file.size

    @property
    def misfits(self) -> Misfits:
        """What is in `__other` of all live files, as their folders' manifests list it, by attribute."""
        return join_misfits(self._manifests.values())

    @property
    def numbers(self) -> dict[str, Number]:
        """What number columns hold at most, by attribute, as far as all files that hold them have bounds."""
        numbers: dict[str, Number] = {}
        for column in self._schema.columns:
            if not isinstance(column.type, Number) or column.type.kind not in ("bigint", "decimal"):
                continue
            ends = [end for head, _, files in self._heads for end in _ends(head, files, column.name)]
            if None in ends:
                continue
            digits = max((len(str(abs(int(end)))) for end in ends if end is not None), default=0)
            scale = column.type.scale
            numbers[column.attribute] = Number(digits, scale, digits + scale, column.type.int64)
        return numbers

    def sizes(self, attribute: str) -> dict[Any, int]:
        """Return the bytes to write again if an attribute's column changes: by folder of `{t}`, file of the state."""
        holding, items = (_holding(*head, attribute) for head in self._heads)
        waiting = (f for f in self._heads[0][2] if f.rows and attribute in self._waiting(f))
        units = {_unit(f): self._bytes[_unit(f)] for f in chain(holding, waiting)}
        return units | {f.path: f.size for f in items}

    def _waiting(self, file: DataFile) -> Collection[str]:
        manifest = self._manifests.get(file.folder)
        return () if manifest is None else manifest.misfits


def _unit(file: DataFile) -> tuple[Any, str]:
    return file.partition, file.folder or file.path


def _holding(head: Head, schema: TableSchema, files: Iterable[DataFile], attribute: str) -> list[DataFile]:
    """Return the files that hold an attribute's column."""
    column = schema.column(attribute)
    leaves = frozenset() if column is None else leaf_ids(head.schema, column.name)
    return [f for f in files if leaves and holds_fields(f, leaves)]


def _ends(head: Head, files: Iterable[DataFile], column: str) -> list[Any]:
    """Return the least and the greatest values of a column in each file with it; None where a file has no bounds."""
    if column not in head.schema.column_names:
        return []
    of = head.schema.find_field(column)
    if not isinstance(of.field_type, LongType | DecimalType):
        return []
    ends: list[Any] = []
    for file in files:
        nulls = (file.iceberg.null_value_counts or {}).get(of.field_id)
        if holds_fields(file, {of.field_id}) and nulls != file.rows:
            ends += file.bounds(column) or [None]
    return ends
