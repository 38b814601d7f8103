"""`docs/query.md` and `docs/operations.md`: the table of engines, and the statements, word for word."""

from __future__ import annotations

import ast
import gzip
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from pyiceberg.catalog.glue import GlueCatalog
from trino.exceptions import TrinoQueryError

from dynalake.aws.clients import Clients
from dynalake.lake.compaction.compact_options import CompactOptions
from dynalake.lake.hive.json_table import project_json
from dynalake.night.compact import compact_table
from infra.local.engines.trino import Trino
from infra.local.trino.server import LocalTrino
from tests.support.examples import example
from tests.support.machine import REPOSITORY
from tests.trino.docs_lake import BY_ID, FOLDED_TO, DocsLake, Readings
from tests.trino.readers import ENGINES, ReadTable

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from pyspark.sql import SparkSession

ASKED = (
    "docs/query.md: What to ask: sql",
    "docs/query.md: What to ask: sql 2",
    "docs/query.md: What to ask: sql 3",
)


def statements(name: str) -> list[str]:
    return [s.strip() for s in example(name).split(";\n") if s.strip()]


@pytest.fixture(scope="module")
def lake(docs_lake: tuple[DocsLake, Readings]) -> DocsLake:
    return docs_lake[0]


@pytest.mark.parametrize("statement", [s for name in ASKED for s in statements(name)])
def test_every_statement_finds_something(lake: DocsLake, statement: str) -> None:
    assert lake.trino(statement)


def totals(rows: list[dict[str, Any]]) -> set[tuple[str, float | None]]:
    return {(row["id"], None if row["total"] is None else float(row["total"])) for row in rows}


def test_the_current_items(
    lake: DocsLake, spark: SparkSession, duckdb: DuckDBPyConnection, iceberg: GlueCatalog
) -> None:
    """The page's statement in each engine, with the engine's names of the tables."""
    (statement,) = statements("docs/query.md: The items there are now, without views: sql")
    expected = {("41", None), ("42", 12.5), ("44", 12.5), ("50", 12.5)}
    assert totals(lake.current()) == totals(lake.trino(statement)) == expected

    def named(place: str) -> str:
        return re.sub(r"\b(receipts(?:_state)?)\b", lambda name: place.format(name[1]), statement)

    rows = [row.asDict() for row in spark.sql(named(f"lake.{lake.database}.{{}}")).collect()]
    assert totals(rows) == expected
    for name in ("receipts_state", "receipts"):  # the first begins like the second
        place = iceberg.load_table(f"{lake.database}.{name}").metadata_location
        statement = re.sub(rf"\b{name}\b(?!/)", f"iceberg_scan('{place}')", statement)
    assert totals([dict(zip(("id", "total"), r, strict=True)) for r in duckdb.sql(statement).fetchall()]) == expected


@pytest.mark.parametrize("engine", ENGINES)
def test_the_tables_that_every_engine_reads(lake: DocsLake, read_table: ReadTable, engine: str) -> None:
    assert len(read_table(engine, f"{lake.database}.receipts")) == 9
    assert {row["id"] for row in read_table(engine, f"{lake.database}.receipts_state", "__deleted = true")} == {"45"}
    assert {row["id"] for row in read_table(engine, f"{lake.database}.receipts_state", "__deleted = false")} == {
        "41",
        "42",
        "43",
        "44",
    }


def test_statements_of_redshift_parse() -> None:
    """Parsed by sqlglot, a dependency of local AWS: it finds mistyped statements, but does not run them."""
    text = "".join(example(f"docs/query.md: Redshift Spectrum: sql{number}") for number in ("", " 2"))
    program = (
        "import sys, sqlglot; print([type(s).__name__ for s in sqlglot.parse(sys.stdin.read(), read='redshift') if s])"
    )
    python = REPOSITORY / ".venv-local" / "bin" / "python"
    process = subprocess.run([python, "-c", program], input=text, capture_output=True, text=True, check=True)
    # sqlglot does not know CREATE EXTERNAL SCHEMA.
    assert ast.literal_eval(process.stdout) == ["Command", "Select", "Select", "Select"]


def test_the_last_change_before_an_outage(lake: DocsLake) -> None:
    (statement,) = statements("docs/operations.md: An outage longer than the stream: sql")
    days = sorted({row["dt"] for row in lake.changes()})
    statement = re.sub(r"BETWEEN '\d+' AND '\d+'", f"BETWEEN '{days[0]}' AND '{days[-1]}'", statement)
    assert [list(row.values()) for row in lake.trino(statement)] == [["2019-05-25T12:00:00.003Z"]]


@pytest.mark.parametrize("raw_first", [True, False])
def test_an_erased_item_does_not_come_back(
    clients: Clients, trino_server: LocalTrino, trino: Trino, *, raw_first: bool
) -> None:
    """It does come back if its raw objects are unchanged and their day is read again."""
    lake = DocsLake(clients, trino, BY_ID)
    lake.fill()
    lake.trino = Trino(trino_server.url, lake.database)
    project_json(lake.table, lambda: lake.now)
    days, raw = statements("docs/operations.md: Erasing a person's data: sql")
    erase = statements("docs/operations.md: Erasing a person's data: sql 2")
    named = [row["dt"] for row in lake.trino(days)]
    keys = [row["$path"].removeprefix(lake.names.uri("")) for row in lake.trino(raw)]
    assert (len(named), len(keys)) == (1, 1)
    for key in keys if raw_first else ():
        lines = gzip.decompress(clients.s3.get_object(Bucket=lake.names.lake.bucket, Key=key)["Body"].read())
        kept = b"".join(line for line in lines.splitlines(keepends=True) if b'"id":"42"' not in line)
        assert len(kept) < len(lines)
        clients.s3.put_object(Bucket=lake.names.lake.bucket, Key=key, Body=gzip.compress(kept))
    for statement in erase:
        lake.trino(statement)
    for rows in (lake.changes(), lake.trino("SELECT * FROM receipts_state"), lake.current()):
        assert "42" not in {row["id"] for row in rows}

    compact_table(lake.table, CompactOptions(), lambda: lake.now, days=named)
    lake.convert(named)
    lake.fold(FOLDED_TO + 10)
    assert ("42" in {row["id"] for row in lake.changes()}) is not raw_first
    assert ("42" in {row["id"] for row in lake.current()}) is not raw_first


def test_statements_about_iceberg_itself_name_its_catalog(
    plain_catalog: GlueCatalog, trino: Trino, database: str
) -> None:
    rows = pa.Table.from_pylist([{"n": 1}])
    table = plain_catalog.create_table(f"{database}.t", rows.schema, location=f"s3://{database}/t")
    table.append(rows)
    snapshot = table.current_snapshot()
    assert snapshot
    table.manage_snapshots().create_tag(snapshot.snapshot_id, "a tag").commit()
    table.append(rows)
    for statement in ("SELECT * FROM {}.t FOR VERSION AS OF 'a tag'", "ANALYZE {}.t"):
        with pytest.raises(TrinoQueryError):
            trino(statement.format(database))
    assert trino(f"SELECT * FROM iceberg.{database}.t FOR VERSION AS OF 'a tag'") == [{"n": 1}]
    trino(f"ANALYZE iceberg.{database}.t")
