"""Hive tables in Glue: awswrangler makes them; dynalake compares them with what they should be, and changes them.

awswrangler makes tables, adds partitions with their columns, and deletes them. The rest it cannot do: it overwrites
what others have written to a table in the meantime (no `VersionId`), refuses a type that changes, cannot update a
partition, and lists partitions without their parameters. There, Glue is called directly.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from dynalake.aws.answers import tolerate
from dynalake.aws.clients import Clients
from dynalake.errors import CatalogError, ConflictError
from dynalake.lake.catalog.table import DYNAMODB_TABLE, SOURCE, Table
from dynalake.lake.columns.column import DAY
from dynalake.lake.current.view_entries import check_owner, read_entry

if TYPE_CHECKING:
    from mypy_boto3_glue.type_defs import TableInputTypeDef

ATTEMPTS = 8
"""How often a change of a table is decided again because others were first."""

_AT_ONCE = 8

# https://docs.aws.amazon.com/glue/latest/webapi/API_BatchUpdatePartition.html
_BATCH = 100
_COLUMNS = 20_000  # the most that one request names

_KEPT = ("Name", "Description", "Owner", "Retention", "StorageDescriptor", "PartitionKeys", "TableType", "Parameters")


class HiveColumn(NamedTuple):
    """A column: its name, its type as Glue has it, and its comment."""

    name: str
    type: str
    comment: str = ""


@dataclass(frozen=True)
class Format:
    """A file format, by awswrangler's word for it, and how Glue describes it.

    `serde`: parameters of the SerDe. They are given to the table and to each partition: Athena reads the partition's.
    """

    name: str
    library: str
    input: str
    output: str
    serde: Mapping[str, str] = field(default_factory=lambda: {"serialization.format": "1"})

    def storage(self, location: str, columns: Iterable[HiveColumn]) -> dict[str, Any]:
        """Return a partition's storage descriptor. Trino refuses one without `Columns`."""
        return {
            "Location": location,
            "InputFormat": self.input,
            "OutputFormat": self.output,
            "SerdeInfo": {"SerializationLibrary": self.library, "Parameters": dict(self.serde)},
            "Columns": [{"Name": c.name, "Type": c.type} for c in columns],
        }


_HIVE = "org.apache.hadoop.hive.ql.io"

PARQUET = Format(
    "parquet",
    f"{_HIVE}.parquet.serde.ParquetHiveSerDe",
    f"{_HIVE}.parquet.MapredParquetInputFormat",
    f"{_HIVE}.parquet.MapredParquetOutputFormat",
)
ORC = Format("orc", f"{_HIVE}.orc.OrcSerde", f"{_HIVE}.orc.OrcInputFormat", f"{_HIVE}.orc.OrcOutputFormat")
JSON = Format(
    "json",
    "org.openx.data.jsonserde.JsonSerDe",
    "org.apache.hadoop.mapred.TextInputFormat",
    f"{_HIVE}.HiveIgnoreKeyTextOutputFormat",
)


@dataclass(frozen=True)
class HiveTable:
    """A Hive table as it should be, partitioned by `dt`. `parameters` are dynalake's."""

    name: str
    format: Format
    location: str
    columns: tuple[HiveColumn, ...]
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Partition:
    """A partition: its day, its location (`s3://…/`), its parameters; and its columns, where it has to be written."""

    day: str
    location: str
    parameters: Mapping[str, str]
    columns: tuple[HiveColumn, ...] = ()

    def same(self, other: Partition | None) -> bool:
        """Return whether another one points to the same place with the same parameters."""
        return (
            other is not None
            and self.location == other.location
            and self.parameters.items() <= other.parameters.items()
        )


class _Session:
    """awswrangler's boto3 session: it gives the lake's clients, with their settings and endpoint."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def client(self, service_name: str, **settings: Any) -> Any:
        assert service_name == "glue"
        return self._clients.glue


def _session(table: Table) -> Any:
    return _Session(table.clients)


def own_parameters(table: Table, source_arn: str) -> dict[str, str]:
    """Return the parameters that say whose a Glue table is."""
    return {DYNAMODB_TABLE: table.names.table, SOURCE: source_arn}


# -- tables ------------------------------------------------------------------------------------------------------------


def align_table(table: Table, wanted: HiveTable) -> bool:
    """Make a Hive table what it should be. Return whether something was written.

    What people wrote stays: description, owner, comments of columns, parameters that are not dynalake's. Raises
    `NameTakenError` where the name belongs to another table, `ConflictError` where others were first `ATTEMPTS` times.
    """
    for _ in range(ATTEMPTS):
        entry = read_entry(table, wanted.name)
        if entry is None:
            _create(table, wanted)
            return True
        check_owner(table.names, wanted.name, entry)
        changed = _changed(entry, wanted)
        if changed is None:
            return False
        with tolerate("ConcurrentModificationException", "EntityNotFoundException"):
            table.clients.glue.update_table(
                DatabaseName=table.names.lake.database,
                TableInput=cast("TableInputTypeDef", changed),
                VersionId=str(entry["VersionId"]),
                SkipArchive=True,
            )
            return True
    raise ConflictError(
        f"The Glue table {wanted.name} was changed by others {ATTEMPTS} times in a row",
        action="try again when they are done",
        table=table.names.table,
    )


def ensure_table(table: Table, wanted: HiveTable) -> bool:
    """Make a Hive table where there is none. Return whether it was made. Raise `NameTakenError` if it is another's."""
    entry = read_entry(table, wanted.name)
    if entry is None:
        _create(table, wanted)
        return True
    check_owner(table.names, wanted.name, entry)
    return False


def _create(table: Table, wanted: HiveTable) -> None:
    import awswrangler  # loads pandas, which nothing else here needs

    create = getattr(awswrangler.catalog, f"create_{wanted.format.name}_table")
    serde: dict[str, Any] = {}
    if wanted.format.name == "json":
        serde = {"serde_library": wanted.format.library, "serde_parameters": dict(wanted.format.serde)}
    create(
        database=table.names.lake.database,
        table=wanted.name,
        path=wanted.location,
        columns_types={c.name: c.type for c in wanted.columns},
        partitions_types={DAY: "string"},
        parameters={"EXTERNAL": "TRUE", **wanted.parameters},
        columns_comments={c.name: c.comment for c in wanted.columns if c.comment},
        mode="append",  # the other mode deletes existing partitions
        boto3_session=_session(table),
        **serde,
    )


def _changed(entry: Mapping[str, Any], wanted: HiveTable) -> dict[str, Any] | None:
    """Return the table's entry with dynalake's part in it; None where nothing differs."""
    kept = {key: entry[key] for key in _KEPT if entry.get(key) is not None}
    storage = kept.get("StorageDescriptor", {})
    current = {c["Name"]: c for c in storage.get("Columns", ())}
    columns = []
    for column in wanted.columns:
        new = {**current.get(column.name, {}), "Name": column.name, "Type": column.type}
        if column.comment and not new.get("Comment"):
            new["Comment"] = column.comment
        columns.append(new)
    serde = {**storage.get("SerdeInfo", {}).get("Parameters", {}), **wanted.format.serde}
    now = {
        **kept,
        "Parameters": {**kept.get("Parameters", {}), **wanted.parameters},
        "StorageDescriptor": {
            **storage,
            "Location": wanted.location,
            "Columns": columns,
            "SerdeInfo": {**storage.get("SerdeInfo", {}), "Parameters": serde},
        },
    }
    return None if now == kept else now


# -- partitions --------------------------------------------------------------------------------------------------------


def list_partitions(table: Table, name: str) -> dict[str, Partition]:
    """Return the partitions of a Hive table by their days, without their columns.

    https://docs.aws.amazon.com/glue/latest/webapi/API_GetPartitions.html
    """
    pages = table.clients.glue.get_paginator("get_partitions").paginate(
        DatabaseName=table.names.lake.database, TableName=name, ExcludeColumnSchema=True
    )
    partitions = {}
    for page in pages:
        for p in page["Partitions"]:
            day, location = p["Values"][0], p.get("StorageDescriptor", {}).get("Location", "")
            partitions[day] = Partition(day, location, dict(p.get("Parameters") or {}))
    return partitions


def put_partitions(
    table: Table, name: str, file_format: Format, wanted: Sequence[Partition], there: Collection[str]
) -> None:
    """Write these partitions: change those whose days are `there`, and add the others.

    A partition that another run has added in the meantime stays as it is: read them again. Raises `CatalogError` where
    Glue refuses one.
    """
    _add(table, name, file_format, [p for p in wanted if p.day not in there])
    changed = [p for p in wanted if p.day in there]
    for batch in _batches(changed):
        answer = table.clients.glue.batch_update_partition(
            DatabaseName=table.names.lake.database,
            TableName=name,
            Entries=cast(
                "Any", [{"PartitionValueList": [p.day], "PartitionInput": _input(p, file_format)} for p in batch]
            ),
        )
        for refused in answer.get("Errors", []):
            detail = refused.get("ErrorDetail", {})
            if detail.get("ErrorCode") != "EntityNotFoundException":  # removed by another run: it is compared again
                raise _refused(table, name, refused.get("PartitionValueList"), detail)


def remove_partitions(table: Table, name: str, days: Iterable[str]) -> None:
    """Remove these days' partitions; one that is already gone is not an error."""
    import awswrangler

    values = [[day] for day in sorted(days)]
    if values:
        awswrangler.catalog.delete_partitions(
            database=table.names.lake.database,
            table=name,
            partitions_values=values,
            boto3_session=_session(table),
        )


def _add(table: Table, name: str, file_format: Format, partitions: Iterable[Partition]) -> None:
    """Add partitions, grouped: awswrangler takes one list of columns and one set of parameters per call."""
    groups: dict[tuple[Any, ...], dict[str, list[str]]] = {}
    for p in partitions:
        groups.setdefault((p.columns, tuple(sorted(p.parameters.items()))), {})[p.location] = [p.day]
    if not groups:
        return
    import awswrangler

    add = getattr(awswrangler.catalog, f"add_{file_format.name}_partitions")
    serde: dict[str, Any] = {}
    if file_format.name == "json":
        serde = {"serde_library": file_format.library, "serde_parameters": dict(file_format.serde)}
    assert table.clients.glue is not None  # made once, before the threads need it

    def add_group(group: tuple[tuple[Any, ...], dict[str, list[str]]]) -> None:
        (columns, parameters), values = group
        add(
            database=table.names.lake.database,
            table=name,
            partitions_values=values,
            columns_types={c.name: c.type for c in columns},
            partitions_parameters=dict(parameters),
            boto3_session=_session(table),
            **serde,
        )

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(add_group, groups.items()))


def _input(p: Partition, file_format: Format) -> dict[str, Any]:
    return {
        "Values": [p.day],
        "StorageDescriptor": file_format.storage(p.location, p.columns),
        "Parameters": dict(p.parameters),
    }


def _batches(partitions: Sequence[Partition]) -> Iterable[list[Partition]]:
    held: list[Partition] = []
    for p in partitions:
        if held and (len(held) == _BATCH or sum(len(h.columns) for h in held) + len(p.columns) > _COLUMNS):
            yield held
            held = []
        held.append(p)
    if held:
        yield held


def _refused(table: Table, name: str, values: Any, detail: Mapping[str, Any]) -> CatalogError:
    return CatalogError(
        f"Glue refused the partition {values} of {name}: {detail.get('ErrorCode')} {detail.get('ErrorMessage')}",
        action="correct what Glue reports, and run again",
        table=table.names.table,
    )
