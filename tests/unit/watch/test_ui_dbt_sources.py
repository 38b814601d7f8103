"""The lake's tables as dbt's sources."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jinja2
import pytest
import yaml

from dynalake.lake.columns.schema import TableSchema
from dynalake.lake.types.union import TEXT, Number
from dynalake.names import Lake
from dynalake.record.key import ItemKey, KeyAttribute
from dynalake.ui.dbt_sources import SourceTable, source_names, sources_yaml
from dynalake.watch.judge import Targets

LAKE = Lake("prod", "000000000000", "us-east-1")
NUMBER = Number(19, 0, 19, True)


def table(name: str, schema: TableSchema, targets: Targets | None = None, owner: str = "") -> SourceTable:
    names = LAKE.table(name)
    columns = [{"Name": column.name, "Type": column.glue_type} for column in schema.columns]
    entry = {"Parameters": {"dynalake.schema": schema.to_json()}, "StorageDescriptor": {"Columns": columns}}
    return SourceTable(names, dict.fromkeys(source_names(names), entry), targets or Targets(), owner)


def sources(*tables: SourceTable) -> dict[str, Any]:
    """Return the tables by name, with the values that dbt gets: it expands Jinja in each text."""
    (source,) = yaml.safe_load(sources_yaml(LAKE, tables))["sources"]
    return {entry["name"]: expanded(entry) for entry in source["tables"]}


def expanded(value: Any) -> Any:
    if isinstance(value, str):
        return jinja2.Template(value, undefined=jinja2.StrictUndefined).render()
    if isinstance(value, Mapping):
        return {name: expanded(inner) for name, inner in value.items()}
    return [expanded(inner) for inner in value] if isinstance(value, list) else value


def schema_of(key: ItemKey, **attributes: Any) -> TableSchema:
    return TableSchema.of_new_table(key).admit(attributes)


def held_by_design(entry: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the kind and the SQL of each test."""
    return [(kind, values["arguments"]["column_name"]) for test in entry["data_tests"] for kind, values in test.items()]


def test_a_key_of_two_texts() -> None:
    schema = schema_of(ItemKey(KeyAttribute("order", "S"), KeyAttribute("Line", "B")))
    entries = sources(table("TAB", schema))
    for kind in ("current", "state"):
        assert held_by_design(entries[f"tab_{kind}"]) == [
            ("unique", 'row("order", "line")'),
            ("not_null", '"order"'),
            ("not_null", '"line"'),
        ]
    for name in ("tab", "tab_history", "tab_removed"):
        assert "data_tests" not in entries[name], "an item may be there more than once"


def test_a_key_with_a_number() -> None:
    """A number may be in `__other`, which views show, and `__key`, which they leave out."""
    key = ItemKey(KeyAttribute("it's", "S"), KeyAttribute("at", "N"))
    entries = sources(table("TAB", schema_of(key, at=NUMBER)))
    assert held_by_design(entries["tab_state"]) == [("unique", '"__key"'), ("not_null", '"__key"')]
    at = """coalesce(cast("at" as varchar), element_at(__other, 'at'))"""
    (whole, _, last) = held_by_design(entries["tab_current"])
    assert whole[1].endswith(f", {at})")
    assert last == ("not_null", at)


def test_a_number_that_has_no_column_yet() -> None:
    """A table that is set up and empty."""
    entries = sources(table("TAB", schema_of(ItemKey(KeyAttribute("at", "N")))))
    assert "data_tests" not in entries["tab_current"]
    assert held_by_design(entries["tab_state"]) == [("unique", '"__key"'), ("not_null", '"__key"')]


def test_freshness_is_that_of_the_watch() -> None:
    schema = schema_of(ItemKey(KeyAttribute("id", "S")))
    targets = Targets(freshness_minutes=30, conversion_minutes=45, expiring_hours=6)
    entries = sources(table("TAB", schema, targets, "checkout"))
    config = entries["tab"]["config"]
    assert config["freshness"]["warn_after"] == {"count": 75, "period": "minute"}
    assert config["freshness"]["error_after"] == {"count": 6, "period": "hour"}
    assert config["loaded_at_field"] == "from_unixtime(__event_time / 1e3)"
    assert all(entry["config"]["meta"] == {"dynamodb_table": "TAB", "owner": "checkout"} for entry in entries.values())
    assert [name for name, entry in entries.items() if "freshness" in entry["config"]] == ["tab"]


@pytest.mark.parametrize("name", ["{{ 1 }}", "{% raw %}", "{# x", "{{{{%", "a: b", "- x", "'\"\\\n", "ünï", "{}"])
def test_any_name_arrives_as_it_is(name: str) -> None:
    schema = schema_of(ItemKey(KeyAttribute("id", "S")), **{name: TEXT})
    described = [column["description"] for column in sources(table("TAB", schema, owner=name))["tab"]["columns"]]
    assert described == ["The attribute id.", f"The attribute {name}."]


def test_the_order_is_fixed() -> None:
    schema = schema_of(ItemKey(KeyAttribute("id", "S")))
    tables = [table(name, schema) for name in ("bbb", "AAA", "c.d")]
    assert sources_yaml(LAKE, tables) == sources_yaml(LAKE, reversed(tables))
    assert [name for name in sources(*tables) if "_" not in name] == ["aaa", "bbb"]


def test_a_table_whose_setup_has_not_ended_is_named() -> None:
    text = sources_yaml(LAKE, [SourceTable(LAKE.table("LATER"), {}, Targets())])
    assert "# Not here yet, because their setup has not ended: LATER\n" in text
    assert yaml.safe_load(text)["sources"][0]["tables"] == []
