"""Glue tables are validated, versioned and updated as the Data Catalog's API documents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Client = Callable[[str], Any]

pytestmark = pytest.mark.real


@pytest.fixture
def glue(client: Client) -> Any:
    """The Glue client."""
    return client("glue")


@pytest.fixture
def database(glue: Any, name: str) -> str:
    """A new database."""
    glue.create_database(DatabaseInput={"Name": name})
    return name


def _input(name: str = "events", columns: tuple[str, ...] = ("id",), **more: Any) -> dict[str, Any]:
    storage = {"Columns": [{"Name": column, "Type": "string"} for column in columns]}
    return {"Name": name, "StorageDescriptor": storage, **more}


def test_an_update_makes_a_version(glue: Any, database: str) -> None:
    """Each UpdateTable increases VersionId, whether the old version is archived or not.

    https://docs.aws.amazon.com/glue/latest/dg/aws-glue-api-catalog-tables.html#aws-glue-api-catalog-tables-UpdateTable
    """
    glue.create_table(DatabaseName=database, TableInput=_input(Parameters={"kept": "no"}))
    first = glue.get_table(DatabaseName=database, Name="events")["Table"]["VersionId"]
    glue.update_table(DatabaseName=database, TableInput=_input(columns=("id", "a")))
    glue.update_table(DatabaseName=database, TableInput=_input(columns=("id", "a", "b")), SkipArchive=True)
    current = glue.get_table(DatabaseName=database, Name="events")["Table"]
    assert int(current["VersionId"]) == int(first) + 2
    assert "kept" not in current.get("Parameters", {})


def test_a_stale_version_is_refused(glue: Any, database: str) -> None:
    """VersionId is the version to update; another writer in between is a conflict.

    https://docs.aws.amazon.com/glue/latest/webapi/API_UpdateTable.html
    """
    glue.create_table(DatabaseName=database, TableInput=_input())
    version = glue.get_table(DatabaseName=database, Name="events")["Table"]["VersionId"]
    glue.update_table(DatabaseName=database, TableInput=_input(columns=("id", "a")), VersionId=version)
    with pytest.raises(glue.exceptions.ConcurrentModificationException):
        glue.update_table(DatabaseName=database, TableInput=_input(columns=("id", "b")), VersionId=version)
    table = glue.get_table(DatabaseName=database, Name="events")["Table"]
    assert [column["Name"] for column in table["StorageDescriptor"]["Columns"]] == ["id", "a"]


@pytest.mark.parametrize(
    "table_input",
    [
        _input(columns=("id", "ID")),
        _input(PartitionKeys=[{"Name": "id", "Type": "string"}]),
        _input(columns=("x" * 256,)),
        _input(columns=("line\nbreak",)),
        _input(StorageDescriptor={"Columns": [{"Name": "id", "Type": "string", "Comment": "x" * 256}]}),
        _input(StorageDescriptor={"Columns": [{"Name": "id", "Type": "x" * 131073}]}),
        _input(Parameters={"large": "x" * 512001}),
        _input(Parameters={"x" * 256: "small"}),
        _input(ViewOriginalText="é" * 204801),
        _input(Description="x" * 2049),
    ],
    ids=[
        "repeated",
        "repeated-key",
        "too-long",
        "line-break",
        "comment",
        "type",
        "parameter",
        "parameter-name",
        "view-bytes",
        "description",
    ],
)
def test_an_invalid_definition_is_refused(glue: Any, database: str, table_input: dict[str, Any]) -> None:
    """Names are 1 to 255 characters of the documented pattern; every text has a maximum length in bytes.

    https://docs.aws.amazon.com/glue/latest/webapi/API_Column.html
    https://docs.aws.amazon.com/glue/latest/webapi/API_TableInput.html
    https://docs.aws.amazon.com/glue/latest/dg/aws-glue-api-catalog-tables.html#aws-glue-api-catalog-tables-TableInput
    """
    with pytest.raises(glue.exceptions.ClientError) as refused:
        glue.create_table(DatabaseName=database, TableInput=table_input)
    assert refused.value.response["Error"]["Code"] == "InvalidInputException"


def test_the_longest_texts_are_accepted(glue: Any, database: str) -> None:
    """https://docs.aws.amazon.com/glue/latest/webapi/API_TableInput.html"""
    column = {"Name": "x" * 255, "Type": "x" * 131072, "Comment": "x" * 255}
    longest = _input(Parameters={"x" * 255: "x" * 512000}, ViewOriginalText="x" * 409600, Description="x" * 2048)
    glue.create_table(DatabaseName=database, TableInput={**longest, "StorageDescriptor": {"Columns": [column]}})
    table = glue.get_table(DatabaseName=database, Name="events")["Table"]
    assert table["StorageDescriptor"]["Columns"] == [column]
    assert table["Parameters"] == longest["Parameters"]


def test_names_are_stored_in_lower_case(glue: Any, database: str) -> None:
    """https://docs.aws.amazon.com/glue/latest/webapi/API_TableInput.html"""
    glue.create_table(DatabaseName=database, TableInput=_input(name="Events"))
    assert glue.get_table(DatabaseName=database, Name="events")["Table"]["Name"] == "events"
    with pytest.raises(glue.exceptions.AlreadyExistsException):
        glue.create_table(DatabaseName=database, TableInput=_input(name="EVENTS"))


def test_tables_are_found_by_regular_expression(glue: Any, database: str) -> None:
    """https://docs.aws.amazon.com/glue/latest/webapi/API_GetTables.html"""
    for table in ("orders_json", "orders_parquet", "users_json"):
        glue.create_table(DatabaseName=database, TableInput=_input(name=table))
    tables = glue.get_tables(DatabaseName=database, Expression="orders_.*")["TableList"]
    assert [table["Name"] for table in tables] == ["orders_json", "orders_parquet"]
    tables = glue.get_tables(DatabaseName=database, Expression="orders_(json|csv)")["TableList"]
    assert [table["Name"] for table in tables] == ["orders_json"]
