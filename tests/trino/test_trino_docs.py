"""What `docs/query.md` says of Trino."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pytest
from pyiceberg.catalog.glue import GlueCatalog
from trino.exceptions import TrinoQueryError

from infra.local.engines.trino import Trino
from infra.local.trino.server import LocalTrino
from tests.conftest import REPOSITORY

SECTION = re.split(r"^## ", (REPOSITORY / "docs" / "query.md").read_text(), flags=re.MULTILINE)
(TRINO,) = [section for section in SECTION if section.startswith("Trino on your machine")]


def test_the_snippet_runs(trino_server: LocalTrino, database: str) -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", TRINO, re.DOTALL)
    here: dict[str, Any] = {}
    exec(re.sub(r'"127.0.0.1", \d+', f'"127.0.0.1", {urlsplit(trino_server.url).port}', snippet), here)
    assert [database] in here["rows"]


def test_what_is_about_iceberg_itself_names_its_catalog(
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
