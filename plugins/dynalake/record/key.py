"""The key of a table's items: its names and types, in the table's own order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dynalake.errors import RecordError

# https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_AttributeDefinition.html
KEY_TYPES = ("S", "N", "B")


@dataclass(frozen=True)
class KeyAttribute:
    """One attribute of the key: its name and its DynamoDB type (`S`, `N` or `B`)."""

    name: str
    type: str

    def __post_init__(self) -> None:
        if self.type not in KEY_TYPES:
            raise RecordError(f"Key attribute {self.name!r} has type {self.type!r}", allowed=" or ".join(KEY_TYPES))


@dataclass(frozen=True)
class ItemKey:
    """The primary key of a table: the partition key, and the sort key where there is one."""

    partition: KeyAttribute
    sort: KeyAttribute | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names, the partition key's first: `("year", "title")`."""
        return tuple(attribute.name for attribute in self.attributes)

    @property
    def attributes(self) -> tuple[KeyAttribute, ...]:
        """One attribute or two, the partition key first."""
        return (self.partition,) if self.sort is None else (self.partition, self.sort)

    @classmethod
    def of(cls, table_description: Mapping[str, Any]) -> ItemKey:
        """Return the key from `DescribeTable`'s answer (its `Table` member).

        https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TableDescription.html
        """
        types = {a["AttributeName"]: a["AttributeType"] for a in table_description["AttributeDefinitions"]}
        by_role = {k["KeyType"]: k["AttributeName"] for k in table_description["KeySchema"]}
        sort = by_role.get("RANGE")
        return cls(
            partition=KeyAttribute(by_role["HASH"], types[by_role["HASH"]]),
            sort=None if sort is None else KeyAttribute(sort, types[sort]),
        )

    def to_dict(self) -> dict[str, dict[str, str]]:
        """Return it for JSON and XCom: `{"partition": {"name": …, "type": …}, "sort": {…}}`; no `sort` without one."""
        named = {"partition": self.partition, "sort": self.sort}
        return {role: {"name": a.name, "type": a.type} for role, a in named.items() if a is not None}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ItemKey:
        """Return the key from what `to_dict` returned."""
        sort = values.get("sort")
        return cls(KeyAttribute(**values["partition"]), None if sort is None else KeyAttribute(**sort))
