"""Raw lines of earlier versions give the same rows as ever, in both readers.

`golden/raw-{version}.jsonl` has lines as that version wrote them, and `golden/rows-{version}.json` their rows. They are
kept as they are (docs/life.md, the change record): a version with another format adds a pair.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from dynalake.lake.columns.schema import TableSchema
from dynalake.lake.types.layout import glue_type
from tests.unit.convert.batches import TEXT_KEY, find

GOLDEN = Path(__file__).parent / "golden"
VERSIONS = ("0.1",)


def rows_of(version: str, *, compiled: bool) -> str:
    """Return the rows of a version's lines, their columns and their counts as text."""
    body = (GOLDEN / f"raw-{version}.jsonl").read_bytes()
    found = find([body], TableSchema.of_new_table(TEXT_KEY), compiled=compiled)
    known = found.schema.known.items()
    result = {
        "columns": {column.name: [attribute, glue_type(column.type)] for attribute, column in known},
        "rows": found.rows,
        "counts": asdict(found.sums),
    }
    return json.dumps(result, indent=1, sort_keys=True, default=str) + "\n"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("compiled", [True, False])
def test_lines_of_an_earlier_version_give_the_same_rows(version: str, compiled: bool) -> None:
    assert rows_of(version, compiled=compiled) == (GOLDEN / f"rows-{version}.json").read_text()
