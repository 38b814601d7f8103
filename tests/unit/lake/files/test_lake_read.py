"""Rows of files are read by field id, whatever the schema has become since."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.manifest import DataFileContent, FileFormat
from pyiceberg.schema import Schema
from pyiceberg.types import DoubleType, ListType, LongType, MapType, NestedField, StringType, StructType

from dynalake.errors import CatalogError
from dynalake.lake.catalog.iceberg import Change
from dynalake.lake.files.read import _Deletes, count_deleted, read_rows
from tests.unit.lake.small_lake import SmallLake

NESTED = Schema(
    NestedField(1, "dt", StringType()),
    NestedField(2, "id", StringType()),
    NestedField(6, "m", StructType(NestedField(7, "a", LongType()), NestedField(8, "b", StringType()))),
    NestedField(9, "l", ListType(10, StructType(NestedField(11, "x", LongType())), element_required=False)),
    NestedField(12, "o", MapType(13, StringType(), 14, StringType(), value_required=False)),
)


def test_columns_are_found_by_id_and_missing_ones_are_null(small_lake: SmallLake) -> None:
    head = small_lake.create()
    row = {"id": "k", "m": {"a": 1, "b": "x"}, "l": [{"x": 1}, None], "o": [("p", "1"), ("q", None)]}
    file = small_lake.file("20240101", [row], NESTED)
    later = Schema(
        NestedField(1, "dt", StringType()),
        NestedField(2, "name", StringType()),
        NestedField(20, "id", StringType()),
        NestedField(6, "m", StructType(NestedField(21, "a", DoubleType()), NestedField(8, "c", StringType()))),
        NestedField(9, "l", NESTED.find_type("l")),
        NestedField(12, "o", NESTED.find_type("o")),
    )

    (rows,) = read_rows(head, [file], schema=later)

    assert rows.to_pylist() == [
        {
            "dt": "20240101",
            "name": "k",
            "id": None,
            "m": {"a": None, "c": "x"},
            "l": [{"x": 1}, None],
            "o": [("p", "1"), ("q", None)],
        }
    ]


def test_only_the_requested_columns_and_row_groups_are_read(small_lake: SmallLake) -> None:
    head = small_lake.create()
    early = small_lake.file("20240101", [{"id": "a", "__event_time": 1}])
    late = small_lake.file("20240101", [{"id": "b", "__event_time": 9}, {"id": "c", "__event_time": 11}])
    empty = small_lake.file("20240101", [])

    tables = list(read_rows(head, [early, late, empty], ["id"], within={"__event_time": (10, 20)}))

    assert [rows.to_pylist() for rows in tables] == [[{"id": "b"}, {"id": "c"}]]


def test_a_schema_with_no_column_of_the_file(small_lake: SmallLake) -> None:
    head = small_lake.create()
    file = small_lake.file("20240101", [{"id": "a"}, {"id": "b"}])

    (rows,) = read_rows(head, [file], schema=Schema(NestedField(30, "new", LongType())))

    assert rows.to_pylist() == [{"new": None}] * 2


def test_uncommitted_files_are_read_too(small_lake: SmallLake) -> None:
    head = small_lake.create()
    head = small_lake.catalog.commit(head, Change(add=(small_lake.file("20240101", [{"id": "a"}]),)))
    other = small_lake.file("20240102", [{"id": "b"}])

    assert [r["id"] for rows in read_rows(head, [*head.files(), other]) for r in rows.to_pylist()] == ["a", "b"]


def test_only_ranges_of_a_large_file_are_read(small_lake: SmallLake, monkeypatch: pytest.MonkeyPatch) -> None:
    head = small_lake.create()
    file = small_lake.file("20240101", [{"id": f"{i:09d}", "n": i} for i in range(20_000)])
    monkeypatch.setattr("dynalake.lake.catalog.file_io._WHOLE", 1000)
    spans: list[str] = []
    get = small_lake.clients.s3.get_object

    def counting(**request: Any) -> Any:
        if request["Key"].endswith(".parquet"):
            spans.append(request.get("Range", "all"))
        return get(**request)

    monkeypatch.setattr(small_lake.clients.s3, "get_object", counting)
    numbers = [n for rows in read_rows(head, [file], ["n"]) for n in rows["n"].to_pylist()]

    assert numbers == list(range(20_000))
    assert spans
    assert "all" not in spans


def test_a_large_row_group_is_read_in_parts(small_lake: SmallLake, monkeypatch: pytest.MonkeyPatch) -> None:
    head = small_lake.create()
    file = small_lake.file("20240101", [{"id": f"{i:09d}", "n": i} for i in range(20_000)])
    monkeypatch.setattr("dynalake.lake.files.read._AT_ONCE", 50_000)
    monkeypatch.setattr(_Deletes, "of", lambda self, file: np.array([0, 7_000, 19_999]))

    tables = list(read_rows(head, [file], ["n"]))

    assert len(tables) > 4
    assert max(rows.num_rows for rows in tables) < 5_000
    assert [n for rows in tables for n in rows["n"].to_pylist()] == sorted({*range(20_000)} - {0, 7_000, 19_999})


@pytest.mark.parametrize("encoding", ["PLAIN", "DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY", "dictionary"])
def test_position_deletes_are_read_whatever_the_form_of_their_paths(encoding: str) -> None:
    rows = pa.table({"file_path": ["s3://b/1", "s3://b/2", "s3://b/1", "s3://b/1"], "pos": [5, 0, 7, 5]})
    body = io.BytesIO()
    how: dict[str, Any] = {"use_dictionary": True}
    if encoding != "dictionary":
        how = {"use_dictionary": False, "column_encoding": {"file_path": encoding}}
    pq.write_table(rows, body, row_group_size=2, **how)
    assert count_deleted(deletes_in(body.getvalue(), FileFormat.PARQUET)) == {"s3://b/1": 2, "s3://b/2": 1}


def test_deletes_in_another_format_are_refused() -> None:
    with pytest.raises(CatalogError, match="rewrite_data_files"):
        count_deleted(deletes_in(b"", FileFormat.ORC))


def deletes_in(body: bytes, file_format: FileFormat) -> Any:
    """A table with one delete file."""
    delete = SimpleNamespace(
        content=DataFileContent.POSITION_DELETES, file_format=file_format, file_path="s3://b/deletes"
    )
    file = SimpleNamespace(open=lambda: io.BytesIO(body))
    places = SimpleNamespace(new_input=lambda path: file)
    return SimpleNamespace(name="receipts", delete_files=lambda: (delete,), iceberg=SimpleNamespace(io=places))
