"""Types widen: in one commit per table, while readers of the views go on reading what they read before."""

from __future__ import annotations

from pyiceberg.types import NestedField, StringType

from dynalake.lake.iceberg import Change
from tests.unit.lake.conftest import SmallLake


def test_a_snapshot_is_kept_by_a_name(small_lake: SmallLake) -> None:
    small_lake.create()
    head = small_lake.catalog.commit(small_lake.load(), Change(add=(small_lake.file("20240101", [{"id": "a"}]),)))
    schema = type(head.schema)(*head.schema.fields, NestedField(9, "more", StringType()), schema_id=1)

    assert head.snapshot_id is not None
    tagged = small_lake.catalog.commit(head, Change(tag={"kept": head.snapshot_id}, schema=schema))
    assert tagged.tags == {"kept": head.snapshot_id}
    assert small_lake.load().tags == tagged.tags
    assert tagged.schema_at(head.snapshot_id) == head.schema != tagged.schema

    freed = small_lake.catalog.commit(tagged, Change(untag=("kept", "never there")))
    assert freed.tags == {}
    assert [row["id"] for row in small_lake.rows()] == ["a"]


def test_ids_that_are_reserved_are_given_to_nothing_else(small_lake: SmallLake) -> None:
    head = small_lake.create()
    reserved = type(head.schema)(*head.schema.fields, NestedField(41, "n2", StringType()))

    landed = small_lake.catalog.commit(head, Change(reserve=reserved))

    assert landed.last_column_id == 41
    assert landed.schema == head.schema
    assert landed.snapshot_id != head.snapshot_id
    assert [s.schema_id for s in landed.iceberg.metadata.schemas] == [head.schema_id]
    grown = type(head.schema)(*head.schema.fields, NestedField(landed.last_column_id + 1, "n3", StringType()))
    assert small_lake.catalog.commit(landed, Change(schema=grown)).schema.find_field("n3").field_id == 42
