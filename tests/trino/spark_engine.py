"""Spark 3.5, the version of AWS Glue 5.0, with Iceberg's runtime on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from infra.local.engines.rows import plain
from infra.local.trino.server import SMALL

CATALOG = "lake"
"""Glue's name in the session: `SELECT … FROM lake.database.table`."""


def spark_session(aws: Mapping[str, str], jars: Iterable[Path], scratch: Path) -> SparkSession:
    """Return a session whose catalog `lake` reads and writes Iceberg tables in Glue.

    https://iceberg.apache.org/docs/1.10.0/aws/#glue-catalog
    `jars` are Iceberg's (`Installation.spark_jars`). It runs on the `java` on the path, which must be 17 or older.
    """
    catalog = f"spark.sql.catalog.{CATALOG}"
    credentials = {"aws.accessKeyId": "AWS_ACCESS_KEY_ID", "aws.secretAccessKey": "AWS_SECRET_ACCESS_KEY"}
    settings = {
        # In local mode there is only the driver: no jar has to be distributed.
        "spark.driver.extraClassPath": os.pathsep.join(map(str, jars)),
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        catalog: "org.apache.iceberg.spark.SparkCatalog",
        f"{catalog}.type": "glue",
        f"{catalog}.io-impl": "org.apache.iceberg.aws.s3.S3FileIO",
        f"{catalog}.glue.endpoint": aws["AWS_ENDPOINT_URL"],
        f"{catalog}.s3.endpoint": aws["AWS_ENDPOINT_URL"],
        f"{catalog}.s3.path-style-access": "true",
        f"{catalog}.client.region": aws["AWS_DEFAULT_REGION"],
        # Each query must read the current table.
        f"{catalog}.cache-enabled": "false",
        "spark.driver.extraJavaOptions": " ".join(
            [*SMALL, *(f"-D{name}={aws[of]}" for name, of in credentials.items())]
        ),
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.memory": "1g",
        "spark.local.dir": str(scratch),
        "spark.sql.warehouse.dir": str(scratch / "warehouse"),
        "spark.sql.shuffle.partitions": "2",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }
    builder = SparkSession.builder.master("local[2]").appName("dynalake")
    for name, value in settings.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    return session


def spark_rows(session: SparkSession, sql: str) -> list[dict[str, Any]]:
    """Return the rows of one statement."""
    return [plain(row, "__fields__") for row in session.sql(sql).collect()]
