"""Statements that write data or change the catalog do so as Athena documents them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.local.athena_lake import Lake, QueryFailed

WIDE = "1234567890123456789012345678.9012345678"


@pytest.fixture
def lake(client: Callable[[str], Any], name: str) -> Lake:
    """A lake with a JSON table of two days."""
    lake = Lake(client, name)
    lake.table("t", {"id": "string", "n": "string"}, keys={"dt": "string"})
    for day in ("1", "2"):
        lake.lines(f"t/dt={day}/a.gz", f'{{"id":"{day}","n":{WIDE}}}')
        lake.partition("t", day, path=f"t/dt={day}/")
    return lake


@pytest.mark.parametrize("kind", ["PARQUET", "ORC", "JSON", "TEXTFILE"])
def test_create_table_as(lake: Lake, kind: str) -> None:
    """https://docs.aws.amazon.com/athena/latest/ug/create-table-as.html"""
    execution = lake.run(
        f"CREATE TABLE made WITH (format = '{kind}', external_location = '{lake.uri('made/')}', "
        "partitioned_by = ARRAY['dt']) AS SELECT id, CAST(n AS decimal(38,10)) AS n, dt FROM t"
    )
    assert execution["StatementType"] == "DDL"
    assert lake.query("SELECT * FROM made ORDER BY dt") == [["1", WIDE, "1"], ["2", WIDE, "2"]]
    made = lake.glue.get_table(DatabaseName=lake.name, Name="made")["Table"]
    assert made["StorageDescriptor"]["Columns"][1] == {"Name": "n", "Type": "decimal(38,10)"}
    assert [key["Name"] for key in made["PartitionKeys"]] == ["dt"]
    manifest = lake.read(execution["Statistics"]["DataManifestLocation"]).decode().split()
    assert sorted(uri.partition(f"{lake.name}/")[2] for uri in manifest) == lake.keys("made/")
    with pytest.raises(QueryFailed, match="TABLE_ALREADY_EXISTS"):
        lake.run("CREATE TABLE made AS SELECT 1 AS one")
    with pytest.raises(QueryFailed, match="HIVE_PATH_ALREADY_EXISTS"):
        lake.run(f"CREATE TABLE more WITH (external_location = '{lake.uri('made/')}') AS SELECT 1 AS one")


def test_create_table_as_without_rows(lake: Lake) -> None:
    """https://docs.aws.amazon.com/athena/latest/ug/create-table-as.html"""
    lake.run("CREATE TABLE empty AS SELECT * FROM t WITH NO DATA")
    assert lake.query("SELECT * FROM empty") == []
    with pytest.raises(QueryFailed, match="MISSING_COLUMN_NAME"):
        lake.run("CREATE TABLE nameless AS SELECT count(*) FROM t")


def test_insert_into(lake: Lake) -> None:
    """New partitions are registered; types that do not fit are refused.

    https://docs.aws.amazon.com/athena/latest/ug/insert-into.html
    """
    lake.run("CREATE TABLE made WITH (partitioned_by = ARRAY['dt']) AS SELECT id, dt FROM t")
    lake.run("INSERT INTO made SELECT id, '3' FROM t WHERE dt = '1'")
    lake.run("INSERT INTO made (dt, id) VALUES ('4', 'x')")
    assert lake.query("SELECT id, dt FROM made ORDER BY dt") == [
        ["1", "1"],
        ["2", "2"],
        ["1", "3"],
        ["x", "4"],
    ]
    assert lake.query("SHOW PARTITIONS made") == [[f"dt={day}"] for day in "1234"]
    with pytest.raises(QueryFailed, match="TYPE_MISMATCH"):
        lake.run("INSERT INTO made SELECT 1, '5'")


def test_unload(lake: Lake) -> None:
    """https://docs.aws.amazon.com/athena/latest/ug/unload.html"""
    statement = f"UNLOAD (SELECT id, dt FROM t) TO '{lake.uri('out/')}' WITH (format = 'PARQUET')"
    execution = lake.run(statement)
    assert execution["Statistics"]["DataManifestLocation"].endswith("-manifest.csv")
    assert len(lake.keys("out/")) == 1
    with pytest.raises(QueryFailed, match="HIVE_PATH_ALREADY_EXISTS"):
        lake.run(statement)


def test_partitions_by_statement(lake: Lake) -> None:
    """https://docs.aws.amazon.com/athena/latest/ug/alter-table-add-partition.html,
    https://docs.aws.amazon.com/athena/latest/ug/msck-repair-table.html
    """
    lake.lines("elsewhere/a", '{"id":"3"}')
    lake.lines("t/dt=4/a", '{"id":"4"}')
    lake.run(f"ALTER TABLE t ADD IF NOT EXISTS PARTITION (dt = '3') LOCATION '{lake.uri('elsewhere/')}'")
    assert lake.scalar("SELECT id FROM t WHERE dt = '3'") == "3"
    with pytest.raises(QueryFailed, match="AlreadyExistsException"):
        lake.run("ALTER TABLE t ADD PARTITION (dt = '3')")
    lake.run("MSCK REPAIR TABLE t")
    assert lake.query("SHOW PARTITIONS t") == [["dt=1"], ["dt=2"], ["dt=3"], ["dt=4"]]
    lake.run("ALTER TABLE t DROP PARTITION (dt = '1'), PARTITION (dt = '2')")
    assert lake.query("SELECT id FROM t ORDER BY id") == [["3"], ["4"]]


def test_tables_by_statement(lake: Lake) -> None:
    """https://docs.aws.amazon.com/athena/latest/ug/create-table.html"""
    lake.run(
        "CREATE EXTERNAL TABLE IF NOT EXISTS made (id string, `odd-name` struct<x:int>) "
        "PARTITIONED BY (dt string) ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe' "
        f"WITH SERDEPROPERTIES ('case.insensitive' = 'false') LOCATION '{lake.uri('made/')}'"
    )
    made = lake.glue.get_table(DatabaseName=lake.name, Name="made")["Table"]
    assert made["StorageDescriptor"]["SerdeInfo"]["Parameters"]["case.insensitive"] == "false"
    assert lake.query("SHOW TABLES") == [["made"], ["t"]]
    assert lake.query(f"SHOW TABLES IN {lake.name} 'm*'") == [["made"]]
    assert [line[0].split("\t")[0].strip() for line in lake.query("DESCRIBE made") if line[0]][:3] == [
        "id",
        "odd-name",
        "dt",
    ]
    assert [line[0].strip() for line in lake.query("SHOW COLUMNS IN made") if line[0]] == [
        "id",
        "odd-name",
        "dt",
    ]
    lake.run("DROP TABLE made")
    with pytest.raises(QueryFailed, match="does not exist"):
        lake.run("DROP TABLE made")
    lake.run("DROP TABLE IF EXISTS made")


def test_databases_by_statement(lake: Lake) -> None:
    """https://docs.aws.amazon.com/athena/latest/ug/create-database.html"""
    other = f"{lake.name}_other"
    lake.run(f"CREATE DATABASE IF NOT EXISTS {other}")
    assert [other] in lake.query("SHOW DATABASES")
    assert lake.query(f"SELECT count(*) FROM {lake.name}.t") == [["2"]]
    lake.run(f"DROP DATABASE {other}")
    assert [other] not in lake.query("SHOW SCHEMAS")
    with pytest.raises(QueryFailed, match="SCHEMA_NOT_EMPTY"):
        lake.run(f"DROP DATABASE {lake.name}")


def test_delimited_text(lake: Lake) -> None:
    """https://docs.aws.amazon.com/athena/latest/ug/lazy-simple-serde.html,
    https://docs.aws.amazon.com/athena/latest/ug/csv-serde.html
    """
    columns = {"a": "string", "b": "bigint"}
    lazy = "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe"
    lake.table("lazy", columns, lazy, properties={"field.delim": "\t"}, parameters={"skip.header.line.count": "1"})
    lake.lines("lazy/1", "a\tb", "x\t1", "\\N\tno number")
    lake.table("quoted", columns, "org.apache.hadoop.hive.serde2.OpenCSVSerde")
    lake.lines("quoted/1", '"x, y","2"')
    assert lake.query("SELECT * FROM lazy ORDER BY b") == [["x", "1"], [None, None]]
    assert lake.query("SELECT * FROM quoted") == [["x, y", "2"]]
