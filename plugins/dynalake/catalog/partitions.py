"""Partitions of `{t}_json` and `{t}_parquet`: listed, registered, pointed to another location in one call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import ClientError

from dynalake.catalog.tables import PARQUET_SERDE, json_storage, json_table, parse_schema, read_table
from dynalake.clients import Clients
from dynalake.days import SNAPSHOT_DAY, check_day
from dynalake.errors import CatalogError
from dynalake.lake.schema import DAY
from dynalake.names import TableNames

if TYPE_CHECKING:
    from mypy_boto3_glue.type_defs import PartitionInputTypeDef

# https://docs.aws.amazon.com/glue/latest/webapi/API_BatchCreatePartition.html
BATCH = 100

ORC_SERDE = "org.apache.hadoop.hive.ql.io.orc.OrcSerde"
_ORC = "org.apache.hadoop.hive.ql.io.orc.Orc"
_PARQUET = "org.apache.hadoop.hive.ql.io.parquet.MapredParquet"


@dataclass(frozen=True)
class Partition:
    """A registered partition: its day, its location (`s3://…/`) and its parameters."""

    day: str
    location: str
    parameters: dict[str, str] = field(default_factory=dict)


def list_partitions(clients: Clients, names: TableNames, glue_name: str, since: str = "") -> dict[str, Partition]:
    """The partitions of a table by day: the snapshot's, and those from the day `since` on.

    Raises `CatalogError` where there is no such table.
    https://docs.aws.amazon.com/glue/latest/webapi/API_GetPartitions.html
    """
    arguments: dict[str, Any] = {"DatabaseName": names.lake.database, "TableName": glue_name}
    if since:
        arguments["Expression"] = f"{DAY} >= '{check_day(since)}' OR {DAY} = '{SNAPSHOT_DAY}'"
    found = {}
    try:
        for page in clients.glue.get_paginator("get_partitions").paginate(**arguments, ExcludeColumnSchema=True):
            for p in page["Partitions"]:
                day = p["Values"][0]
                if day == SNAPSHOT_DAY or day >= since:
                    found[day] = Partition(day, p["StorageDescriptor"]["Location"], dict(p.get("Parameters") or {}))
    except ClientError as error:
        if error.response["Error"]["Code"] != "EntityNotFoundException":
            raise
        raise _not_there(names, glue_name) from error
    return found


def read_partition(clients: Clients, names: TableNames, glue_name: str, day: str) -> Partition | None:
    """One partition, or None."""
    try:
        p = clients.glue.get_partition(
            DatabaseName=names.lake.database, TableName=glue_name, PartitionValues=[check_day(day)]
        )["Partition"]
    except ClientError as error:
        if error.response["Error"]["Code"] == "EntityNotFoundException":
            return None
        raise
    return Partition(day, p["StorageDescriptor"]["Location"], dict(p.get("Parameters") or {}))


def register_days(clients: Clients, names: TableNames, days: Iterable[str]) -> None:
    """Make the raw objects of these days queryable. Days that are registered already are left as they are.

    Raises `CatalogError` for what Glue refuses.
    """
    serde = _raw_serde(clients, names)
    wanted = [_raw_partition(names, day, names.raw_day(day), serde) for day in sorted(set(days))]
    for start in range(0, len(wanted), BATCH):
        answer = clients.glue.batch_create_partition(
            DatabaseName=names.lake.database,
            TableName=names.raw_table,
            PartitionInputList=wanted[start : start + BATCH],
        )
        for refused in answer.get("Errors", []):
            detail = refused.get("ErrorDetail", {})
            if detail.get("ErrorCode") != "AlreadyExistsException":
                raise CatalogError(
                    f"Glue refused the partition {refused.get('PartitionValues')} of {names.raw_table}: "
                    f"{detail.get('ErrorCode')} {detail.get('ErrorMessage')}",
                    table=names.table,
                )


def point_snapshot(clients: Clients, names: TableNames, key_prefix: str) -> str | None:
    """Make `s3://{bucket}/{key_prefix}` the snapshot, in one call. Returns the location before, None at the first.

    Readers see the old snapshot or the new one. Again with the same prefix: nothing is written.
    """
    location = names.uri(key_prefix)
    before = read_partition(clients, names, names.raw_table, SNAPSHOT_DAY)
    if before is not None and before.location == location:
        return location
    partition = _raw_partition(names, SNAPSHOT_DAY, key_prefix, _raw_serde(clients, names))
    _put(clients, names, names.raw_table, partition, exists=before is not None)
    return None if before is None else before.location


def snapshot_location(clients: Clients, names: TableNames) -> str | None:
    """Where the snapshot lies (`s3://…/`), or None where there is none yet."""
    found = read_partition(clients, names, names.raw_table, SNAPSHOT_DAY)
    return None if found is None else found.location


def change_parameters(clients: Clients, names: TableNames, day: str, changes: Mapping[str, str | None]) -> None:
    """Set parameters of a partition of `{t}_parquet`, or remove them (None), in one call; the rest stays.

    The caller holds the table's lease. Raises `CatalogError` where there is no such partition.
    """
    where: Any = {"DatabaseName": names.lake.database, "TableName": names.typed_table}
    try:
        found = clients.glue.get_partition(**where, PartitionValues=[check_day(day)])["Partition"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "EntityNotFoundException":
            raise
        raise CatalogError(f"{names.typed_table} has no partition dt={day}", table=names.table, day=day) from error
    parameters = {**(found.get("Parameters") or {}), **changes}
    clients.glue.update_partition(
        **where,
        PartitionValueList=[day],
        PartitionInput={
            "Values": [day],
            "StorageDescriptor": found["StorageDescriptor"],
            "Parameters": {name: value for name, value in parameters.items() if value is not None},
        },
    )


def publish_partition(
    clients: Clients, names: TableNames, day: str, key_prefix: str, parameters: dict[str, str], file_format: str
) -> bool:
    """Make `key_prefix` the version of this day that `{t}_parquet` shows, in one call. True if something was written.

    The partition carries no columns of its own: readers take the table's, so widening the table is one call.
    """
    location = names.uri(key_prefix)
    before = read_partition(clients, names, names.typed_table, day)
    if before is not None and before.location == location and before.parameters == parameters:
        return False
    kind, serde = (_ORC, ORC_SERDE) if file_format == "orc" else (_PARQUET, PARQUET_SERDE)
    # Columns are found by name in both formats; ORC has to be told.
    # https://docs.aws.amazon.com/athena/latest/ug/handling-schema-updates-chapter.html
    by_name = {"orc.column.index.access": "false"} if file_format == "orc" else {}
    partition: PartitionInputTypeDef = {
        "Values": [day],
        "StorageDescriptor": {
            "Location": location,
            "InputFormat": f"{kind}InputFormat",
            "OutputFormat": f"{kind}OutputFormat",
            "SerdeInfo": {"SerializationLibrary": serde, "Parameters": by_name},
        },
        "Parameters": parameters,
    }
    _put(clients, names, names.typed_table, partition, exists=before is not None)
    return True


def _put(
    clients: Clients, names: TableNames, glue_name: str, partition: PartitionInputTypeDef, *, exists: bool
) -> None:
    database, values = names.lake.database, list(partition["Values"])
    if not exists:
        try:
            clients.glue.create_partition(DatabaseName=database, TableName=glue_name, PartitionInput=partition)
            return
        except ClientError as error:
            if error.response["Error"]["Code"] != "AlreadyExistsException":
                raise
    clients.glue.update_partition(
        DatabaseName=database, TableName=glue_name, PartitionValueList=values, PartitionInput=partition
    )


def _raw_serde(clients: Clients, names: TableNames) -> dict[str, str]:
    """The SerDe's parameters, which Athena reads from the partition: the same as the table's."""
    found = read_table(clients, names.lake.database, names.typed_table)
    if found is None:
        raise _not_there(names, names.typed_table)
    table = json_table(names, parse_schema(names, found), "")
    return cast("dict[str, str]", table["StorageDescriptor"]["SerdeInfo"]["Parameters"])


def _not_there(names: TableNames, glue_name: str) -> CatalogError:
    return CatalogError(
        f"There is no table {glue_name} in the Glue database {names.lake.database}",
        action=f"run dynalake_setup for {names.table}",
        table=names.table,
    )


def _raw_partition(names: TableNames, day: str, key_prefix: str, serde: dict[str, str]) -> PartitionInputTypeDef:
    return {
        "Values": [check_day(day)],
        "StorageDescriptor": cast("Any", json_storage(names.uri(key_prefix), serde)),
        "Parameters": {"classification": "json"},
    }
