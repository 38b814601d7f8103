"""Every engine reads the largest table that a schema's budget allows, and every type that a column may have."""

from __future__ import annotations

import io
import json
import uuid
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dynalake.aws.clients import Clients
from dynalake.lake.catalog.iceberg import Change, Head, IcebergCatalog
from dynalake.lake.columns.column import RESERVED_NAMES
from dynalake.lake.columns.column_types import count_fields
from dynalake.lake.columns.gather import Gathering
from dynalake.lake.columns.iceberg_schema import PARTITION_IDS, iceberg_schema
from dynalake.lake.columns.schema import KEY, METADATA_TYPES, OTHER, TableSchema
from dynalake.lake.files.folders import new_folder
from dynalake.lake.files.parts import file_schema
from dynalake.lake.types.arrow import converter, other_entries
from dynalake.lake.types.budget import BUDGET
from dynalake.lake.types.key_text import key_text
from dynalake.lake.types.union import holds
from dynalake.names import Lake
from dynalake.record.key import ItemKey, KeyAttribute
from tests.support.values.recover import plain, recover
from tests.trino.readers import ENGINES, ReadTable

DAY = "20240101"
ITEM_KEY = ItemKey(KeyAttribute("PK", "S"), KeyAttribute("at", "N"))

ITEMS: list[dict[str, Any]] = [
    {
        "PK": "a",
        "at": 1,
        "text": "é 📅",
        "flag": True,
        "int": -(2**63),
        "double": Decimal("0.1"),
        "exact": Decimal("12345678901234567890.25"),
        "digits": Decimal("1E+125"),
        "any": {"x": [1, "1", None]},
        "list": [1, None, 3],
        "struct": {"userId": "u", "2019": {"x": [{"y": Decimal("1.5")}]}, "empty": [], "none": None},
        "map": {f"id {i}": {"n": i} for i in range(101)},
        **{name: f"attribute {name}" for name in (*RESERVED_NAMES, "dt", "DT", "select", "order", "1st", "__typename")},
    },
    {
        "PK": "b",
        "at": Decimal("1.5"),
        "text": 7,
        "digits": Decimal("-1E-130"),
        "any": "text",
        "list": [],
        "struct": {"empty": [1, "x"]},
        "map": {},
    },
    {"PK": "c", "at": Decimal("9.9E+120"), "new": 1, "double": Decimal("0.30000000000000004")},
]


class SchemaTable:
    """A table of changes with items as rows, written as by a conversion."""

    def __init__(self, clients: Clients) -> None:
        lake = Lake(f"t{uuid.uuid4().hex[:12]}", "000000000000", "us-east-1")
        clients.s3.create_bucket(Bucket=lake.bucket)
        clients.glue.create_database(DatabaseInput={"Name": lake.database})
        self.clients, self.names = clients, lake.table("RECEIPTS")
        self.catalog = IcebergCatalog(clients, lake)
        self.schema = TableSchema.of_new_table(ITEM_KEY)
        location = self.names.uri(self.names.changes_location)
        self.catalog.create(self.names.changes_table, iceberg_schema(self.schema, None, 0), location, "dt", {})

    @property
    def full_name(self) -> str:
        return f"{self.names.lake.database}.{self.names.changes_table}"

    def load(self) -> Head:
        return self.catalog.load(self.names.changes_table)

    def add(self, items: list[dict[str, Any]], *, grow: bool = True) -> None:
        """Add rows of these items, and columns for them."""
        gathering = Gathering(self.schema)
        for item in items:
            gathering.record(item)
        before, head = self.schema, self.load()
        if grow:
            self.schema = before.admit(gathering.observed)
        iceberg = iceberg_schema(self.schema, head.schema, head.last_column_id, before=before)
        # Files leave out columns that none of their rows has; pyiceberg reads an existing null map as an empty one.
        absent = {"dt", *(c.name for c in self.schema.columns if c.attribute not in gathering.observed)}
        arrow = file_schema(iceberg.select(*(f.name for f in iceberg.fields if f.name not in absent)))
        body = _parquet(self.schema, arrow, items)
        key = f"{self.names.change_folder(DAY, new_folder())}part-00000.parquet"
        self.clients.s3.put_object(Bucket=self.names.lake.bucket, Key=key, Body=body)
        footer = pq.read_metadata(io.BytesIO(body))
        file = head.data_file(self.names.uri(key), DAY, footer, len(body), iceberg)
        changed = None if iceberg is head.schema else iceberg
        self.catalog.commit(head, Change(add=(file,), schema=changed))

    def items(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the items of an engine's rows, in the order of their keys."""
        parsed = []
        for row in sorted(rows, key=lambda row: row[KEY]):
            item = {c.attribute: recover(row.get(c.name), c.type) for c in self.schema.columns}
            item |= {a: plain(json.loads(t, parse_float=Decimal)) for a, t in (row[OTHER] or {}).items()}
            parsed.append({a: v for a, v in item.items() if v is not None})
            assert row["dt"] == DAY
            assert row[KEY] == key_text((item["PK"], item["at"]))
        return parsed


def _parquet(schema: TableSchema, arrow: pa.Schema, items: list[dict[str, Any]]) -> bytes:
    columns: dict[str, list[Any]] = {name: [None] * len(items) for name in METADATA_TYPES}
    fitting = [{c.attribute for c in schema.columns if holds(c.type, item.get(c.attribute))} for item in items]
    for c in schema.columns:
        convert = converter(c.type)
        columns[c.name] = [
            convert(i.get(c.attribute)) if c.attribute in f else None for i, f in zip(items, fitting, strict=True)
        ]
    columns[OTHER] = [
        other_entries({a: v for a, v in item.items() if a not in f}) or None
        for item, f in zip(items, fitting, strict=True)
    ]
    columns[KEY] = [key_text((item["PK"], item["at"])) for item in items]
    body = io.BytesIO()
    arrays = [pa.array(columns[f.name], f.type) for f in arrow]
    pq.write_table(pa.Table.from_arrays(arrays, schema=arrow), body, store_schema=False)
    return body.getvalue()


@pytest.fixture(scope="module")
def every_type(clients: Clients) -> SchemaTable:
    table = SchemaTable(clients)
    table.add(ITEMS[:1])
    table.add(ITEMS[1:2])
    table.add(ITEMS[2:], grow=False)
    return table


@pytest.fixture(scope="module")
def largest(clients: Clients) -> tuple[SchemaTable, list[dict[str, Any]]]:
    """A table with the maximum of columns and fields, whose ids exceed those of partition fields."""
    table = SchemaTable(clients)
    structs = {f"s{i:02}": {f"f{j:02}": j for j in range(50)} for i in range(11)}
    texts = {f"t{i:03}": f"text {i}" for i in range(BUDGET.columns)}
    items = [{"PK": "a", "at": 1, **structs}, {"PK": "b", "at": 2, **texts}, {"PK": "c", "at": 3, **structs, **texts}]
    for item in items:
        table.add([item])
    return table, items


@pytest.mark.parametrize("engine", ENGINES)
def test_every_type_and_name(every_type: SchemaTable, read_table: ReadTable, engine: str) -> None:
    assert every_type.items(read_table(engine, every_type.full_name)) == [plain(item) for item in ITEMS]


@pytest.mark.parametrize("engine", ENGINES)
def test_the_largest_table(
    largest: tuple[SchemaTable, list[dict[str, Any]]], read_table: ReadTable, engine: str
) -> None:
    table, items = largest
    assert len(table.schema.columns) > BUDGET.columns - 60
    assert sum(count_fields(c.type) for c in table.schema.columns) == BUDGET.fields
    iceberg = table.load().schema
    assert iceberg.highest_field_id > PARTITION_IDS.stop
    assert table.items(read_table(engine, table.full_name)) == [plain(item) for item in items]
