"""The engines that read the lake: one Trino, one Spark and one DuckDB on local AWS, for all tests in this folder.

Each starts when a test first needs it. Their rows are dicts by column name that compare with `==` between engines;
see `infra/local/engines`.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pyiceberg.catalog.glue import GlueCatalog

from dynalake.aws.clients import Clients
from infra.local.engines.duckdb import connect, duckdb_rows
from infra.local.engines.trino import Trino
from infra.local.run.process import LocalAws
from infra.local.trino.jars import Installation
from infra.local.trino.server import LocalTrino
from tests.support.airflow.dag_bag import bag, run, stored  # noqa: F401  DAGs as Airflow runs them
from tests.support.machine import need
from tests.trino.docs_lake import BY_DEVICE, BY_ID, DocsLake, Readings, set_up_lake
from tests.trino.pyiceberg_engine import glue_catalog, metadata_location, pyiceberg_rows, reading_catalog
from tests.trino.readers import ENGINES, ReadTable
from tests.trino.shell import Shell
from tests.trino.view_lake import new_lake

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from pyspark.sql import SparkSession


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give tests of random values their seeds: `DYNALAKE_SEEDS`, or one, which is enough to cover what they state."""
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(1, 1 + int(os.environ.get("DYNALAKE_SEEDS", "1"))))


@pytest.fixture(scope="session")
def trino_server(
    installation: Installation, local_aws: LocalAws, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalTrino]:
    """The Trino of the session."""
    with LocalTrino(installation, tmp_path_factory.mktemp("trino") / "server.log", local_aws.env()) as server:
        yield server


@pytest.fixture(scope="session")
def trino(trino_server: LocalTrino) -> Trino:
    """`trino(sql)` returns the rows; `trino.ask(sql)` also its reads."""
    return Trino(trino_server.url)


@pytest.fixture(scope="session")
def spark(
    installation: Installation, local_aws: LocalAws, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SparkSession]:
    """A Spark whose catalog `lake` is Glue: `spark.sql("SELECT * FROM lake.database.table")`."""
    need("java")
    from tests.trino.spark_engine import spark_session

    session = spark_session(local_aws.env(), installation.spark_jars, tmp_path_factory.mktemp("spark"))
    yield session
    session.stop()


@pytest.fixture(scope="session")
def duckdb(local_aws: LocalAws) -> Iterator[DuckDBPyConnection]:
    """A DuckDB for `iceberg_scan('{metadata location}')` and `read_parquet('s3://…')`."""
    connection = connect(local_aws.env())
    yield connection
    connection.close()


@pytest.fixture(scope="session")
def iceberg(local_aws: LocalAws) -> GlueCatalog:
    """pyiceberg's own catalog, read only."""
    return reading_catalog(local_aws.env())


@pytest.fixture(scope="session")
def plain_catalog(local_aws: LocalAws) -> GlueCatalog:
    """pyiceberg's own catalog, with which a foreign program writes."""
    return glue_catalog(local_aws.env())


@pytest.fixture(scope="session")
def read_table(request: pytest.FixtureRequest) -> ReadTable:
    """`read_table(engine, "database.table", where="dt = '20240101'")` reads an Iceberg table by one of `ENGINES`."""

    def read(engine: str, table: str, where: str | None = None) -> list[dict[str, Any]]:
        of: Any = request.getfixturevalue("iceberg" if engine == "pyiceberg" else engine)
        condition = "" if where is None else f" WHERE {where}"
        if engine == "trino":
            rows: list[dict[str, Any]] = of(f"SELECT * FROM {table}{condition}")
            return rows
        if engine == "spark":
            from tests.trino.spark_engine import spark_rows

            return spark_rows(of, f"SELECT * FROM lake.{table}{condition}")
        if engine == "duckdb":
            place = metadata_location(request.getfixturevalue("iceberg"), table)
            return duckdb_rows(of, f"SELECT * FROM iceberg_scan('{place}'){condition}")
        if engine == "pyiceberg":
            return pyiceberg_rows(of.load_table(table), *([] if where is None else [where]))
        raise ValueError(f"Unknown engine: received {engine!r}, allowed are {', '.join(ENGINES)}")

    return read


@pytest.fixture(scope="session")
def new_database(clients: Clients) -> Callable[[], str]:
    """Makes a Glue database, and an empty bucket of the same name; the name needs no quotes in any engine."""

    def make() -> str:
        name = f"t{uuid.uuid4().hex[:12]}"
        clients.s3.create_bucket(Bucket=name)
        clients.glue.create_database(DatabaseInput={"Name": name})
        return name

    return make


@pytest.fixture
def database(new_database: Callable[[], str]) -> str:
    """A new Glue database, and an empty bucket of the same name."""
    return new_database()


@pytest.fixture(scope="session")
def docs_lake(
    clients: Clients, client: Callable[[str], Any], trino_server: LocalTrino, trino: Trino
) -> tuple[DocsLake, Readings]:
    """The lake `prod` of the documents: RECEIPTS, and Sensor.Readings."""
    lake = new_lake(clients, "prod")
    receipts = DocsLake(clients, trino, BY_ID, lake.table("RECEIPTS"))
    readings = Readings(clients, trino, BY_DEVICE, lake.table("Sensor.Readings"))
    for table in (receipts, readings):
        table.fill()
    set_up_lake(lake, clients, client("athena"))
    receipts.trino = Trino(trino_server.url, receipts.database)
    return receipts, readings


@pytest.fixture
def shell(local_aws: LocalAws, tmp_path: Path) -> Shell:
    """A shell as it is after `source .local/env`."""
    return Shell(local_aws.env(), tmp_path)
