"""Two engines commit to one table at once: each update of Glue names the version that it replaces."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog.glue import GlueCatalog
from pyiceberg.exceptions import CommitFailedException

from infra.local.engines.trino import Trino
from infra.local.run.process import LocalAws
from tests.trino.pyiceberg_engine import glue_catalog
from tests.trino.readers import ReadTable

COLUMNS: list[tuple[str, pa.DataType]] = [("n", pa.int64()), ("by", pa.string())]
SCHEMA = pa.schema(COLUMNS)
MINE = pa.Table.from_pylist([{"n": 2, "by": "pyiceberg"}], SCHEMA)


@pytest.fixture
def interrupted(local_aws: LocalAws, trino: Trino, database: str) -> GlueCatalog:
    """A catalog with a commit by Trino during its first update, after it read the table and before it writes."""
    catalog = glue_catalog(local_aws.env())
    events = catalog.glue.meta.events

    def commit(**_: Any) -> None:
        events.unregister("before-call.glue.UpdateTable", commit)
        trino(f"INSERT INTO {database}.t VALUES (1, 'trino')")

    events.register("before-call.glue.UpdateTable", commit)
    return catalog


def test_an_update_of_a_stale_version_is_refused(interrupted: GlueCatalog, trino: Trino, database: str) -> None:
    """https://docs.aws.amazon.com/glue/latest/webapi/API_UpdateTable.html#Glue-UpdateTable-request-VersionId"""
    once = {"commit.retry.num-retries": "0"}
    table = interrupted.create_table(f"{database}.t", SCHEMA, location=f"s3://{database}/t", properties=once)
    with pytest.raises(CommitFailedException):
        table.append(MINE)
    assert trino(f"SELECT * FROM {database}.t") == [{"n": 1, "by": "trino"}]


def test_a_repeated_commit_loses_nothing(interrupted: GlueCatalog, read_table: ReadTable, database: str) -> None:
    interrupted.create_table(f"{database}.t", SCHEMA, location=f"s3://{database}/t").append(MINE)
    for engine in ("trino", "duckdb", "pyiceberg"):
        rows = sorted(read_table(engine, f"{database}.t"), key=lambda row: row["n"])
        assert rows == [{"n": 1, "by": "trino"}, {"n": 2, "by": "pyiceberg"}]
