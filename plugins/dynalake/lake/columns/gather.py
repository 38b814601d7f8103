"""The types of a table's attributes, gathered from records in bounded memory and in any order."""

from __future__ import annotations

from collections.abc import Mapping

from dynalake.lake.columns.admission import rank
from dynalake.lake.columns.schema import Observed, TableSchema
from dynalake.lake.types.budget import BUDGET, Budget
from dynalake.lake.types.union import MIXED, NULL, TOO_LARGE, Mixed, Null, Type, merge, observe, takes
from dynalake.record.change import OPERATION, RESERVED_KEYS, attribute_name


class Gathering:
    """The types observed so far in one table's records. The result is the same in any order, and in parts (`add`).

    Attributes that have a column are always kept. Of others as many as could ever get one: at most `budget.attributes`
    of them, by rank. The sizes of all types together are at most `budget.gathered`: those behind in the order become
    JSON text (`TOO_LARGE`). Attributes that never get a column are left out: names that are too long, and `pins.never`.
    """

    def __init__(self, schema: TableSchema, budget: Budget = BUDGET) -> None:
        self._schema, self._budget = schema, budget
        self._types: dict[str, Type] = {}
        self._new = self._size = 0

    def record(self, record: Mapping[str, object]) -> None:
        """Take the attributes of one change record; a canary has none."""
        if record.get(OPERATION) == "CANARY":
            return
        for key, value in record.items():
            if key not in RESERVED_KEYS:
                self._add(attribute_name(key), observe(value, self._budget.limits))
        self._bound_sometimes()

    def add(self, observed: Observed) -> None:
        """Take observations from elsewhere, such as another `Gathering` with the same schema."""
        for attribute, seen in observed.items():
            self._add(attribute, seen)
        self._bound_sometimes()

    def so_far(self, attribute: str) -> Type:
        """Return an attribute's type as it is now, before the bounds apply: values within it bring nothing new."""
        return self._types.get(attribute, NULL)

    @property
    def observed(self) -> dict[str, Type]:
        """Types by attribute. An attribute with a fixed type has no more than whether its values fit."""
        self._bound()
        return dict(self._types)

    def _add(self, attribute: str, seen: Type) -> None:
        if isinstance(seen, Null):
            return
        column = self._schema.known.get(attribute)
        of = self._schema.pins.type(attribute) or (column.type if column is not None else None)
        if isinstance(of, Mixed) or (of is not None and attribute in self._schema.pins.types):
            seen = of if takes(of, seen) else MIXED
        elif column is None and self._is_never_column(attribute):
            return
        before = self._types.get(attribute)
        after = seen if before is None else merge(before, seen, self._budget.limits)
        if after is not before:
            self._types[attribute] = after
            self._new += before is None and column is None
            self._size += self._weight(after) - (0 if before is None else self._weight(before))

    def _is_never_column(self, attribute: str) -> bool:
        return len(attribute) > self._budget.limits.key_length or attribute in self._schema.pins.without

    def _bound_sometimes(self) -> None:
        """Apply the bounds so seldom that it takes no time, and so often that nothing exceeds twice its bound."""
        if self._new > 2 * self._budget.attributes or self._size > 2 * self._budget.gathered:
            self._bound()

    def _bound(self) -> None:
        known = [c.attribute for c in self._schema.columns if c.attribute in self._types]
        new = sorted(self._types.keys() - {*known}, key=lambda a: rank(self._schema.names, a))
        kept: dict[str, Type] = {}
        size = 0
        for attribute in [*known, *new[: self._budget.attributes]]:
            of = self._types[attribute]
            if of.size > 1 and size + self._weight(of) > self._budget.gathered:
                of = TOO_LARGE
            kept[attribute] = of
            size += self._weight(of)
        self._types, self._new, self._size = kept, len(kept) - len(known), size

    def _weight(self, of: Type) -> int:
        # A type that is too large counts as the smallest such size, so never less than before.
        return min(of.size, self._budget.limits.size + 1) if of.size > 1 else 0
