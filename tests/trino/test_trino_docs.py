"""`docs/query.md` and `docs/operations.md`: the table of engines, and the statements, word for word."""

from __future__ import annotations

import ast
import gzip
import re
import subprocess
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pyarrow as pa
import pytest
from pyiceberg.catalog.glue import GlueCatalog
from trino.exceptions import TrinoQueryError

from dynalake.aws.clients import Clients
from dynalake.lake.compaction.compact_options import CompactOptions
from dynalake.lake.hive.json_table import project_json
from dynalake.night.compact import compact_table
from dynalake.record.key import ItemKey, KeyAttribute
from infra.local.engines.trino import Trino
from infra.local.trino.server import LocalTrino
from tests.support.machine import REPOSITORY
from tests.trino.readers import ENGINES, ReadTable
from tests.trino.view_lake import Event, ViewLake

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from pyspark.sql import SparkSession

SECTIONS = {
    section.partition("\n")[0]: section
    for page in ("query.md", "operations.md")
    for section in re.split(r"^##+ ", (REPOSITORY / "docs" / page).read_text(), flags=re.MULTILINE)
}
FOLDED_TO = 1558785600000
"""The time in the page's statements."""


def snippets(section: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", SECTIONS[section], re.DOTALL)


def statements(section: str) -> list[str]:
    return [s.strip() for text in snippets(section, "sql") for s in text.split(";\n") if s.strip()]


class DocsLake(ViewLake):
    """RECEIPTS with contents for which each of the page's statements finds something."""

    def fill(self) -> None:
        image = {
            "total": Decimal("12.5"),
            "customer": {"name": "a"},
            "lines": [{"article": "x", "price": 150}, {"article": "y", "price": 1}],
            "tags": ["t"],
            "photo": "AQI=",
            "__types": {"/photo": "B"},
        }
        before = [Event(n, FOLDED_TO - 1000 + n, "INSERT", {"id": f"{40 + n}", **image}) for n in range(1, 6)]
        self.put([*before, Event(6, FOLDED_TO - 10, "REMOVE", {"id": "45", **image})], self.day(self.start))
        self.convert()
        self.fold(FOLDED_TO)
        after = [
            Event(7, FOLDED_TO + 1, "MODIFY", {"id": "41", **image, "total": "n/a"}),
            Event(8, FOLDED_TO + 2, "REMOVE", {"id": "43"}),
            Event(9, FOLDED_TO + 3, "INSERT", {"id": "50", **image}),
        ]
        self.put(after, self.day(self.start))
        self.convert()

    @property
    def database(self) -> str:
        return self.names.lake.database

    def adapt(self, text: str) -> str:
        return text.replace("dynalake_prod", self.database)


@pytest.fixture(scope="module")
def lake(clients: Clients, trino_server: LocalTrino, trino: Trino) -> DocsLake:
    docs_lake = DocsLake(clients, trino, ItemKey(KeyAttribute("id", "S")))
    docs_lake.fill()
    docs_lake.trino = Trino(trino_server.url, docs_lake.database)
    return docs_lake


@pytest.mark.parametrize("statement", statements("What to ask"))
def test_every_statement_finds_something(lake: DocsLake, statement: str) -> None:
    assert lake.trino(statement)


def totals(rows: list[dict[str, Any]]) -> set[tuple[str, float | None]]:
    return {(row["id"], None if row["total"] is None else float(row["total"])) for row in rows}


def test_the_current_items(
    lake: DocsLake, spark: SparkSession, duckdb: DuckDBPyConnection, iceberg: GlueCatalog
) -> None:
    """The page's statement in each engine, with the engine's names of the tables."""
    (statement,) = statements("The items there are now, without views")
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


def test_statements_and_settings_of_spark(lake: DocsLake, spark: SparkSession) -> None:
    (command,) = snippets("Spark", "sh")
    settings = re.findall(r"--conf (spark\.sql\.\S+?)=(\S+)", command)
    assert settings
    assert settings == [(name, spark.conf.get(name)) for name, _ in settings]
    for statement in statements("Spark"):
        assert spark.sql(lake.adapt(statement)).collect(), statement


def test_the_snippet_of_duckdb(
    lake: DocsLake, duckdb: DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch, clients: Clients
) -> None:
    """Without its first lines, which fetch the extensions and use the credentials of an account."""
    (snippet,) = snippets("DuckDB", "python")
    connect = re.compile(r"^connection = .*?\n\)\n", re.MULTILINE | re.DOTALL)
    text, count = connect.subn("", lake.adapt(snippet))
    assert count == 1
    monkeypatch.setattr("boto3.client", lambda name: getattr(clients, name))
    namespace: dict[str, Any] = {"connection": duckdb}
    exec(text, namespace)
    assert dict(namespace["rows"]) == {"INSERT": 6, "MODIFY": 1, "REMOVE": 2}


def test_the_snippet_of_pyiceberg(lake: DocsLake, iceberg: GlueCatalog, monkeypatch: pytest.MonkeyPatch) -> None:
    (snippet,) = snippets("pyiceberg", "python")
    catalogs: list[Any] = []

    def load_catalog(name: str, **properties: str) -> GlueCatalog:
        catalogs.append((name, properties))
        return iceberg

    monkeypatch.setattr("pyiceberg.catalog.load_catalog", load_catalog)
    namespace: dict[str, Any] = {}
    exec(lake.adapt(snippet), namespace)
    assert catalogs == [("lake", {"type": "glue"})]
    assert namespace["rows"].num_rows == 9


def test_statements_of_redshift_parse() -> None:
    """Parsed by sqlglot, a dependency of local AWS: it finds mistyped statements, but does not run them."""
    text = "".join(snippets("Redshift Spectrum", "sql"))
    program = (
        "import sys, sqlglot; print([type(s).__name__ for s in sqlglot.parse(sys.stdin.read(), read='redshift') if s])"
    )
    python = REPOSITORY / ".venv-local" / "bin" / "python"
    process = subprocess.run([python, "-c", program], input=text, capture_output=True, text=True, check=True)
    # sqlglot does not know CREATE EXTERNAL SCHEMA.
    assert ast.literal_eval(process.stdout) == ["Command", "Select", "Select", "Select"]


def test_the_last_change_before_an_outage(lake: DocsLake) -> None:
    (statement,) = statements("An outage longer than the stream")
    days = sorted({row["dt"] for row in lake.changes()})
    statement = re.sub(r"BETWEEN '\d+' AND '\d+'", f"BETWEEN '{days[0]}' AND '{days[-1]}'", statement)
    assert [list(row.values()) for row in lake.trino(statement)] == [["2019-05-25T12:00:00.003Z"]]


@pytest.mark.parametrize("raw_first", [True, False])
def test_an_erased_item_does_not_come_back(
    clients: Clients, trino_server: LocalTrino, trino: Trino, *, raw_first: bool
) -> None:
    """It does come back if its raw objects are unchanged and their day is read again."""
    lake = DocsLake(clients, trino, ItemKey(KeyAttribute("id", "S")))
    lake.fill()
    lake.trino = Trino(trino_server.url, lake.database)
    project_json(lake.table, lambda: lake.now)
    days, raw, *erase = statements("Erasing a person's data")
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


def test_the_snippet_of_trino(trino_server: LocalTrino, database: str) -> None:
    (snippet,) = snippets("Trino on your machine", "python")
    namespace: dict[str, Any] = {}
    exec(re.sub(r'"127.0.0.1", \d+', f'"127.0.0.1", {urlsplit(trino_server.url).port}', snippet), namespace)
    assert [database] in namespace["rows"]


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
