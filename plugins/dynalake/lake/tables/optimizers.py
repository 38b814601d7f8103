"""Glue's own optimizers of Iceberg tables, which must not work on the lake's: found, and switched off.

They are right for a table that nobody else compacts. Here their compaction takes files out of the folders by which raw
objects count as converted, and these are then read once more. Their retention and their deletion of orphans ignore the
lake's grace for files that are being written. They may be on for a table, or for a whole catalog, which its tables
inherit.

https://docs.aws.amazon.com/glue/latest/dg/table-optimizers.html
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dynalake.aws.answers import code_of, tolerate
from dynalake.lake.catalog.table import Table
from dynalake.lake.working.findings import Finding

if TYPE_CHECKING:
    from mypy_boto3_glue.literals import TableOptimizerTypeType

TYPES: tuple[TableOptimizerTypeType, ...] = ("compaction", "retention", "orphan_file_deletion")

# Regions, and programs that stand in for AWS, where Glue has no such calls.
_UNKNOWN = ("UnknownOperationException", "InvalidAction", "UnknownOperation", "NotImplemented", "501")


@dataclass(frozen=True)
class Optimizer:
    """An optimizer that is on: of which Glue table, of which type, and with which configuration."""

    glue_table: str
    type: TableOptimizerTypeType
    configuration: dict[str, Any]


def find_optimizers(table: Table) -> tuple[Optimizer, ...]:
    """Return the optimizers that are on for the two Iceberg tables, by their own or their catalog's configuration."""
    return tuple(_find(table))


def foreign_optimizers(table: Table) -> tuple[Finding, ...]:
    """Return a finding for each optimizer that is on."""
    return tuple(
        Finding(
            "foreign-optimizer",
            optimizer.glue_table,
            f"Glue's table optimizer {optimizer.type} is on for {optimizer.glue_table}",
            "dynalake_setup switches it off for the table; dynalake_compact does its work",
        )
        for optimizer in find_optimizers(table)
    )


def switch_off_optimizers(table: Table) -> tuple[Optimizer, ...]:
    """Switch them off for these tables, whatever their catalog says. Return those that are off now.

    One whose role we may not pass on stays on, and `foreign_optimizers` keeps reporting it.
    """
    off = []
    for optimizer in find_optimizers(table):
        arguments: dict[str, Any] = {
            **_named(table, optimizer.glue_table, optimizer.type),
            "TableOptimizerConfiguration": {**optimizer.configuration, "enabled": False},
        }
        with tolerate("AccessDeniedException"):
            _switch(table, arguments)
            off.append(optimizer)
    return tuple(off)


def _switch(table: Table, arguments: dict[str, Any]) -> None:
    try:
        table.clients.glue.update_table_optimizer(**arguments)
    except Exception as error:
        if code_of(error) != "EntityNotFoundException":
            raise
        # The table has only its catalog's: a configuration of its own is needed to switch it off.
        table.clients.glue.create_table_optimizer(**arguments)


def _find(table: Table) -> Iterator[Optimizer]:
    for name in (table.names.changes_table, table.names.state_table):
        for kind in TYPES:
            try:
                answer = table.clients.glue.get_table_optimizer(**_named(table, name, kind))
            except Exception as error:
                code = code_of(error)
                if code in _UNKNOWN:
                    return
                if code != "EntityNotFoundException":
                    raise
                continue
            configuration: Any = answer.get("TableOptimizer", {}).get("configuration", {})
            if configuration.get("enabled"):
                yield Optimizer(name, kind, dict(configuration))


def _named(table: Table, name: str, kind: TableOptimizerTypeType) -> Any:
    lake = table.names.lake
    return {"CatalogId": lake.account, "DatabaseName": lake.database, "TableName": name, "Type": kind}
