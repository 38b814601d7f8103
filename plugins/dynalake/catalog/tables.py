"""The Glue tables `{t}_json` and `{t}_parquet`: made, read and changed, never overwritten blindly.

https://docs.aws.amazon.com/glue/latest/webapi/API_UpdateTable.html: with `VersionId` a change is made only to the
version it was decided on.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import ClientError

from dynalake.clients import Clients
from dynalake.errors import CatalogError, ConflictError, NameTakenError
from dynalake.lake.layout import glue_type
from dynalake.lake.schema import DAY, METADATA_TYPES, TableSchema
from dynalake.names import TableNames

if TYPE_CHECKING:
    from mypy_boto3_glue.type_defs import TableInputTypeDef

TABLE = "dynalake.table"
SOURCE = "dynalake.source"
SCHEMA = "dynalake.schema"
DIGEST = "dynalake.digest"

ATTEMPTS = 8
"""How often a change is decided anew on fresh state before it is given up."""

JSON_SERDE = "org.openx.data.jsonserde.JsonSerDe"
PARQUET_SERDE = "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"

TableInput = dict[str, Any]


@dataclass(frozen=True)
class Found:
    """A Glue table as it stands: its version and what would write it again."""

    version: str
    table: TableInput

    @property
    def parameters(self) -> dict[str, str]:
        return cast("dict[str, str]", self.table.get("Parameters") or {})


def read_table(clients: Clients, database: str, name: str) -> Found | None:
    """The table or view, or None."""
    try:
        answer = clients.glue.get_table(DatabaseName=database, Name=name)["Table"]
    except ClientError as error:
        if error.response["Error"]["Code"] == "EntityNotFoundException":
            return None
        raise
    kept = (
        "Name", "Description", "Owner", "Retention", "StorageDescriptor", "PartitionKeys", "ViewOriginalText",
        "ViewExpandedText", "TableType", "Parameters",
    )  # fmt: skip
    table = {key: value for key, value in answer.items() if key in kept}
    return Found(str(answer.get("VersionId", "")), table)


def change_table(
    clients: Clients, database: str, name: str, decide: Callable[[Found | None], TableInput | None]
) -> bool:
    """Make the table what `decide` says of it as it stands; None leaves it. True if something was written.

    `decide` is called again on fresh state when somebody else changed the table meanwhile. What it returns is stored
    with its digest, and a table that has this digest is not written again. Parameters that others have set are kept.
    Raises `ConflictError` after `ATTEMPTS`, `CatalogError` where the database is missing.
    """
    for _ in range(ATTEMPTS):
        found = read_table(clients, database, name)
        wanted = decide(found)
        if wanted is None:
            return False
        stamp = _digest(wanted)
        if found is not None and found.parameters.get(DIGEST) == stamp:
            return False
        kept = {} if found is None else {k: v for k, v in found.parameters.items() if not k.startswith("dynalake.")}
        wanted = {**wanted, "Parameters": {**kept, **wanted["Parameters"], DIGEST: stamp}}
        table = cast("TableInputTypeDef", wanted)
        try:
            if found is None:
                clients.glue.create_table(DatabaseName=database, TableInput=table)
            else:
                clients.glue.update_table(DatabaseName=database, TableInput=table, VersionId=found.version)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in ("ConcurrentModificationException", "AlreadyExistsException"):
                continue
            if code == "EntityNotFoundException":
                if found is not None:
                    continue
                raise CatalogError(
                    f"There is no Glue database {database!r}",
                    action="deploy the storage stack (dynalake_setup does)",
                    database=database,
                ) from error
            raise
        return True
    raise ConflictError(
        f"The Glue table {database}.{name} was changed by others {ATTEMPTS} times in a row",
        action="try again when they are done",
        database=database,
        table=name,
    )


def read_schema(clients: Clients, names: TableNames) -> TableSchema:
    """The table's schema. Raises `CatalogError` where the table is not registered."""
    found = read_table(clients, names.lake.database, names.typed_table)
    if found is None:
        raise CatalogError(
            f"The table {names.table} is not in the Glue database {names.lake.database}",
            action=f"run dynalake_setup for {names.table}",
            table=names.table,
        )
    return parse_schema(names, found)


def parse_schema(names: TableNames, found: Found) -> TableSchema:
    """The schema in the table's parameter. Raises `NameTakenError` where it is another table's."""
    check_owner(names, names.typed_table, found)
    return TableSchema.from_json(found.parameters[SCHEMA])


def check_owner(names: TableNames, glue_name: str, found: Found) -> None:
    """Raises `NameTakenError` where the Glue table `glue_name` belongs to another DynamoDB table, or to nobody."""
    owner = found.parameters.get(TABLE)
    if owner != names.table:
        whose = f"the DynamoDB table {owner}" if owner else "something that is not dynalake's"
        raise NameTakenError(
            f"{names.table} needs the Glue name {names.lake.database}.{glue_name}, which belongs to {whose}",
            allowed="one DynamoDB table per Glue name",
            action="capture one of the two in another environment",
            table=names.table,
            other=owner or glue_name,
        )


def json_table(names: TableNames, schema: TableSchema, source: str) -> TableInput:
    """`{t}_json`: every attribute a `string`, read by its own key.

    https://docs.aws.amazon.com/athena/latest/ug/openx-json-serde.html
    """
    fields = [*((name, name, "") for name in METADATA_TYPES), *((c.name, c.key, c.comment) for c in schema.columns)]
    serde = {f"mapping.{name}": key for name, key, _ in fields if name != key}
    serde |= {"case.insensitive": "FALSE", "ignore.malformed.json": "TRUE"}
    return {
        "Name": names.raw_table,
        "TableType": "EXTERNAL_TABLE",
        "Parameters": {
            "EXTERNAL": "TRUE",
            "classification": "json",
            "compressionType": "gzip",
            # Here too: a reader that takes the SerDe's parameters from the partition adds the table's to them.
            **serde,
            TABLE: names.table,
            SOURCE: source,
        },
        "PartitionKeys": [{"Name": DAY, "Type": "string"}],
        "StorageDescriptor": {
            **json_storage(names.uri(names.raw_prefix), serde),
            "Columns": [_column(name, "string", comment) for name, _, comment in fields],
        },
    }


def json_storage(location: str, serde: dict[str, str]) -> dict[str, Any]:
    """The storage descriptor of raw data, without columns."""
    return {
        "Location": location,
        "InputFormat": "org.apache.hadoop.mapred.TextInputFormat",
        "OutputFormat": "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat",
        "SerdeInfo": {"SerializationLibrary": JSON_SERDE, "Parameters": serde},
    }


def parquet_table(names: TableNames, schema: TableSchema, source: str) -> TableInput:
    """`{t}_parquet`: typed, and the keeper of the schema."""
    columns = [_column(name, glue_type(kind), "") for name, kind in METADATA_TYPES.items()]
    columns += [_column(c.name, c.glue_type, c.comment) for c in schema.columns]
    return {
        "Name": names.typed_table,
        "TableType": "EXTERNAL_TABLE",
        "Parameters": {
            "EXTERNAL": "TRUE",
            "classification": "parquet",
            TABLE: names.table,
            SOURCE: source,
            SCHEMA: schema.to_json(),
        },
        "PartitionKeys": [{"Name": DAY, "Type": "string"}],
        "StorageDescriptor": {
            "Location": names.uri(names.parquet_prefix),
            "InputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
            "OutputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
            "SerdeInfo": {"SerializationLibrary": PARQUET_SERDE, "Parameters": {}},
            "Columns": columns,
        },
    }


def _column(name: str, kind: str, comment: str) -> dict[str, str]:
    return {"Name": name, "Type": kind, "Comment": comment} if comment else {"Name": name, "Type": kind}


def _digest(table: TableInput) -> str:
    return sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()[:32]
