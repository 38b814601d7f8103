"""The tables that a setup names: one name as it is, lists, patterns and tags."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from dynalake.aws.clients import Clients
from dynalake.capture.source.choose import check_part, choose_tables, not_set_up
from dynalake.errors import SettingsError
from dynalake.options.where import names_several

TABLES = ("orders_eu", "orders_us", "Orders_old", "users", "users.v2")


@pytest.fixture
def clients(mocked: boto3.Session) -> Clients:
    """Clients of an account with `TABLES`, where the users' tables have the tag datalake=yes."""
    clients = Clients.of(mocked)
    for name in TABLES:
        make(clients, name, {"datalake": "yes" if name.startswith("users") else "no"})
    return clients


def make(clients: Clients, name: str, tags: dict[str, str]) -> None:
    clients.dynamodb.create_table(
        TableName=name,
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
        Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
    )


@pytest.mark.parametrize(
    ("text", "several"),
    [
        ("RECEIPTS", False),
        ("a.b-c_d", False),
        ("x", False),
        ("no such name", False),
        ("A,B", True),
        ("ABC\nDEF", True),
        ("orders_*", True),
        ("order?", True),
        ("datalake=yes", True),
    ],
)
def test_one_name_is_not_several(text: str, several: bool) -> None:
    assert names_several(text) == several


@pytest.mark.parametrize(
    ("text", "tables"),
    [
        ("orders_*", ("orders_eu", "orders_us")),
        ("orders_?s", ("orders_us",)),
        ("*", tuple(sorted(TABLES))),
        ("users*", ("users", "users.v2")),
        ("datalake=yes", ("users", "users.v2")),
        (" datalake = no ,users", ("Orders_old", "orders_eu", "orders_us", "users")),
        ("users,users\nnot_there", ("not_there", "users")),
        ("datalake=yes, orders_e*", ("orders_eu", "users", "users.v2")),
    ],
)
def test_names_patterns_and_tags(clients: Clients, text: str, tables: tuple[str, ...]) -> None:
    assert choose_tables(clients, text) == tables


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ORDERS_*", "No DynamoDB table in account .*, region us-east-1 has a name like 'ORDERS_\\*'"),
        ("users, orders-*", "has a name like 'orders-\\*'"),
        ("datalake=maybe", "has the tag 'datalake=maybe'"),
        (" , ", "names no table"),
    ],
)
def test_what_names_no_table_is_an_error(clients: Clients, text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        choose_tables(clients, text)


HOSTILE = ("a b*", "{{ 7 * 7 }}", "[a-z]*", "=yes", "x", "a/b", "orders_*;", "\u2028*", "*\0")


@pytest.mark.parametrize("part", HOSTILE)
def test_a_part_that_is_none_of_them_is_refused(part: str) -> None:
    """Nothing is asked of AWS."""
    with pytest.raises(SettingsError) as refused:
        check_part(part)
    assert refused.value.received == f"'table' has {part!r}"


def test_three_hundred_tables_take_several_pages(clients: Clients) -> None:
    for number in range(300):
        make(clients, f"many-{number:03}", {"fleet": "all"})
    names = tuple(f"many-{number:03}" for number in range(300))
    assert choose_tables(clients, "many-*") == choose_tables(clients, "fleet=all") == names


def test_tagged_tables_that_are_not_set_up(clients: Clients) -> None:
    assert not_set_up(clients, "datalake=yes", ("users",)) == ("users.v2",)


@pytest.mark.parametrize(("code", "raises"), [("AccessDeniedException", False), ("ThrottlingException", True)])
def test_a_role_that_may_not_read_tags_is_no_error_for_the_watch(code: str, raises: bool) -> None:
    """moto denies nothing, so the refusal is raised here."""

    def refuse(**_: Any) -> Any:
        raise ClientError({"Error": {"Code": code, "Message": "no"}}, "GetResources")

    class Pages:
        paginate = staticmethod(refuse)

    class Tagging:
        get_paginator: Callable[[Any, str], type[Pages]] = staticmethod(lambda name: Pages)  # type: ignore[assignment]

    clients = Clients(lambda service: Tagging())
    if raises:
        with pytest.raises(ClientError):
            not_set_up(clients, "datalake=yes", ())
    else:
        assert not_set_up(clients, "datalake=yes", ()) == ()
