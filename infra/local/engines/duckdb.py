"""DuckDB with its extensions for S3 and Iceberg, from the package index; it downloads nothing by itself."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

import duckdb

EXTENSIONS = ("httpfs", "avro", "iceberg")
"""Extensions, each after those it needs; each is a package `duckdb-extension-…` of DuckDB's own version."""


def connect(aws: Mapping[str, str]) -> duckdb.DuckDBPyConnection:
    """Return a connection that reads `iceberg_scan('s3://…/….metadata.json')` and `read_parquet('s3://…')`.

    https://duckdb.org/docs/stable/core_extensions/iceberg/overview
    """
    connection = duckdb.connect(config={"autoinstall_known_extensions": "false"})
    for name in EXTENSIONS:
        folder = files(f"duckdb_extension_{name}").joinpath("extensions", f"v{duckdb.__version__}")
        connection.execute(f"LOAD '{folder.joinpath(f'{name}.duckdb_extension')}'")
    endpoint = urlsplit(aws["AWS_ENDPOINT_URL"])
    connection.execute(
        f"CREATE SECRET (TYPE s3, KEY_ID '{aws['AWS_ACCESS_KEY_ID']}', SECRET '{aws['AWS_SECRET_ACCESS_KEY']}', "
        f"REGION '{aws['AWS_DEFAULT_REGION']}', ENDPOINT '{endpoint.netloc}', URL_STYLE 'path', USE_SSL false)"
    )
    return connection


def duckdb_rows(connection: duckdb.DuckDBPyConnection, sql: str) -> list[dict[str, Any]]:
    """Return the rows of one statement."""
    result = connection.execute(sql)
    names = [column[0] for column in result.description]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]
