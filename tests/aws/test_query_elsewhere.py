"""Who reads the lake without Athena: DuckDB as the docs show it, Spark with the catalog's types, Redshift's role."""

from __future__ import annotations

import ast
import io
import re
import subprocess
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dynalake.catalog.partitions import list_partitions
from dynalake.catalog.tables import read_schema, read_table

from dynalake.clients import Clients
from infra.local.process import LocalAws
from tests.aws.compact_lake import DAY, LAKE, NEXT_DAY, AthenaLake, key, make_lake
from tests.aws.test_compact_athena import CONTAINERS, NOW, SCALARS, value
from tests.unit.lake.recover import plain, recover

DOCS = Path(__file__).resolve().parents[2] / "docs" / "query.md"


@pytest.fixture(scope="module")
def lake(clients: Clients) -> AthenaLake:
    """Two days whose columns and struct fields differ."""
    made = make_lake(clients)
    images = [{**key(n), **image} for n, image in enumerate([*CONTAINERS, *(image for image, _ in SCALARS)])]
    made.put(DAY, "1.gz", made.lines(images[::2]))
    made.put(NEXT_DAY, "1.gz", made.lines(images[1::2]))
    made.run(NOW)
    made.images = images
    return made


def expected(lake: AthenaLake) -> list[Any]:
    found = [plain({name: value(attribute) for name, attribute in image.items()}) for image in lake.images]
    return sorted(found, key=lambda item: item["n"])


def recovered(lake: AthenaLake, rows: list[dict[str, Any]]) -> list[Any]:
    schema = read_schema(lake.clients, lake.names)
    items = [
        {c.attribute: v for c in schema.columns if (v := recover(row.get(c.name), c.type)) is not None} for row in rows
    ]
    return sorted(items, key=lambda item: item["n"])


def test_duckdb_as_the_docs_show_it(
    lake: AthenaLake, local_aws: LocalAws, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, setting in local_aws.env().items():
        monkeypatch.setenv(name, setting)
    (text,) = re.findall(r"## DuckDB\n.*?```python\n(.*?)```", DOCS.read_text(), flags=re.DOTALL)
    text = text.replace('"dynalake_dev", "receipts_parquet"', f'"{LAKE.database}", "{lake.names.typed_table}"')
    text = text.replace("S3FileSystem()", f'S3FileSystem(endpoint_override="{local_aws.endpoint_url}")')
    there: dict[str, Any] = {}
    exec(text, there)
    assert f"{len(lake.images)}" in capsys.readouterr().out
    relation = there["changes"]
    rows = [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]
    assert {str(row["dt"]) for row in rows} == {DAY, NEXT_DAY}
    assert recovered(lake, rows) == expected(lake)
    assert isinstance(relation, duckdb.DuckDBPyRelation)


def test_spark_with_the_catalog_s_types(lake: AthenaLake, tmp_path: Path) -> None:
    sql = pytest.importorskip("pyspark.sql")
    for day, partition in list_partitions(lake.clients, lake.names, lake.names.typed_table).items():
        for number, part in enumerate(lake.objects(partition.location.removeprefix(lake.names.uri("")))):
            folder = tmp_path / f"dt={day}"
            folder.mkdir(exist_ok=True)
            (folder / f"{number}.parquet").write_bytes(lake.body(part))
    table = read_table(lake.clients, LAKE.database, lake.names.typed_table)
    assert table is not None
    columns = table.table["StorageDescriptor"]["Columns"]
    ddl = ", ".join(f"`{c['Name']}` {_quoted(c['Type'])}" for c in columns)
    spark = sql.SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
    rows = spark.read.schema(ddl).parquet(f"file://{tmp_path}").collect()
    assert recovered(lake, [row.asDict(recursive=True) for row in rows]) == expected(lake)


def covers(declared: str, of: Any) -> bool:
    """Whether Glue's type is that of a Parquet column."""
    if pa.types.is_struct(of):
        inner = dict(_members(declared, "struct"))
        return all(covers(inner[of.field(i).name], of.field(i).type) for i in range(of.num_fields))
    if pa.types.is_map(of):
        return declared.startswith("map<string,") and covers(declared[len("map<string,") : -1], of.item_type)
    if pa.types.is_list(of):
        return declared.startswith("array<") and covers(declared[len("array<") : -1], of.value_type)
    if pa.types.is_decimal(of):
        return declared == f"decimal({of.precision},{of.scale})"
    return declared == {"int64": "bigint", "double": "double", "bool": "boolean", "string": "string"}[str(of)]


def _members(declared: str, kind: str) -> list[tuple[str, str]]:
    """`struct<a:bigint,b:array<string>>` as names and types."""
    assert declared.startswith(f"{kind}<"), declared
    members, depth = [""], 0
    for letter in declared[len(kind) + 1 : -1]:
        depth += {"<": 1, "(": 1, ">": -1, ")": -1}.get(letter, 0)
        if letter == "," and not depth:
            members.append("")
        else:
            members[-1] += letter
    return [(name, of) for name, _, of in (member.partition(":") for member in members)]


def _quoted(kind: str) -> str:
    """A type as Spark's SQL takes it: names of a struct's fields that hold odd characters stand in backquotes."""
    return re.sub(r"([<,])([^<>,:]+):", r"\1`\2`:", kind)


def test_every_file_has_the_types_that_the_catalog_says(lake: AthenaLake) -> None:
    """Redshift Spectrum refuses a file whose column is of another type; a struct may have fewer fields in a file.

    https://repost.aws/knowledge-center/redshift-spectrum-data-errors
    """
    table = read_table(lake.clients, LAKE.database, lake.names.typed_table)
    assert table is not None
    declared = {c["Name"]: c["Type"] for c in table.table["StorageDescriptor"]["Columns"]}
    shown = list_partitions(lake.clients, lake.names, lake.names.typed_table).values()
    files = [part for day in shown for part in lake.objects(day.location.removeprefix(lake.names.uri("")))]
    assert len(files) == 2
    for part in files:
        for field in pq.read_schema(io.BytesIO(lake.body(part))):
            assert covers(declared[field.name], field.type), f"{field.name}: {declared[field.name]} is {field.type}"


def test_what_the_docs_tell_redshift_parses_there() -> None:
    """By sqlglot, which local AWS brings: a mistyped statement is found, what Redshift makes of it is not."""
    text = DOCS.read_text().split("## Redshift Spectrum")[1].split("\n## ")[0]
    statements = "".join(re.findall(r"```sql\n(.*?)```", text, flags=re.DOTALL))
    program = (
        "import sys, sqlglot; print([type(s).__name__ for s in sqlglot.parse(sys.stdin.read(), read='redshift') if s])"
    )
    python = Path(__file__).resolve().parents[2] / ".venv-local" / "bin" / "python"
    done = subprocess.run([python, "-c", program], input=statements, capture_output=True, text=True, check=True)
    kinds = ast.literal_eval(done.stdout)
    # CREATE EXTERNAL SCHEMA is no statement that sqlglot knows.
    assert kinds == ["Command", *["Select"] * 4, "Set", "Select", "Create"]
