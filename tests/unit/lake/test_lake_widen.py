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
