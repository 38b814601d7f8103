"""The lattice of types: laws, exactness, names, and what old files can still give."""

from __future__ import annotations

import json
from decimal import Decimal
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynalake.lake.column_names import fold, give_names, name_fields
from dynalake.lake.layout import files_still_readable, glue_type, narrow, signature, trino_type, written
from dynalake.lake.types import (
    BOOLEAN,
    MIXED,
    NULL,
    TEXT,
    Field,
    List,
    Map,
    Number,
    Struct,
    Type,
    merge,
    merge_all,
    observe,
    type_from_json,
    type_to_json,
)
from tests.unit.record.strategies import VALUES

LIMIT = 3
VALUE = VALUES.map(lambda pair: pair[1])
TYPES = VALUE.map(lambda value: observe(value, LIMIT))


@given(TYPES, TYPES, TYPES)
def test_merge_is_associative_commutative_and_idempotent(a: Type, b: Type, c: Type) -> None:
    assert merge(a, b, LIMIT) == merge(b, a, LIMIT)
    assert merge(merge(a, b, LIMIT), c, LIMIT) == merge(a, merge(b, c, LIMIT), LIMIT)
    assert merge(a, merge(a, b, LIMIT), LIMIT) == merge(a, b, LIMIT)


@given(st.lists(VALUE, min_size=1, max_size=6))
def test_the_type_of_many_values_does_not_depend_on_how_they_are_gathered(values: list[Any]) -> None:
    whole = merge_all((observe(v, LIMIT) for v in values), LIMIT)
    as_list = observe(values, LIMIT)
    assert as_list == List(whole)


@given(TYPES)
def test_json_keeps_everything(a: Type) -> None:
    named = name_fields(a)
    assert type_from_json(json.loads(json.dumps(type_to_json(named)))) == named


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "9223372036854775807", "-9223372036854775808", "1E+2", "0", "-0.0", "1.0"], "bigint"),
        (["9223372036854775808"], "decimal(38,0)"),
        (["1180591620717411303424"], "decimal(38,0)"),
        (["1E+40"], "string"),
        (["1.5", "0.1", "1E-130", "1E+100", "123456789012345"], "double"),
        (["0.1234567890123456"], "decimal(38,16)"),
        (["1.5", "1234567890123456789"], "decimal(38,1)"),
        (["1234567890123456789012345678.9012345678"], "decimal(38,10)"),
        (["1234567890123456789012345678.9012345678", "1E-11"], "string"),
        (["12345678901234567890123456789012345678"], "decimal(38,0)"),
    ],
)
def test_numbers_get_the_first_type_that_holds_them_all(values: list[str], kind: str) -> None:
    assert glue_type(merge_all(observe(Decimal(v)) for v in values)) == kind


def test_an_int_and_the_same_number_as_decimal_have_one_type() -> None:
    for number in (0, 7, -120, 2**63 - 1, -(2**63), 2**63, 10**37):
        assert glue_type(observe(number)) == glue_type(observe(Decimal(number)))


def test_values_that_share_no_type_are_json_text() -> None:
    for a, b in ((1, "1"), (True, 1), ([], {}), ({"a": 1}, "x")):
        assert merge(observe(a), observe(b)) == MIXED


def test_a_map_with_many_keys_is_a_map_where_its_values_agree() -> None:
    many = {str(i): i for i in range(LIMIT + 1)}
    assert glue_type(observe(many, LIMIT)) == "map<string,bigint>"
    assert observe({**many, "x": "text"}, LIMIT) == MIXED
    assert isinstance(observe(dict(list(many.items())[:LIMIT]), LIMIT), Struct)


def test_type_strings() -> None:
    of = name_fields(observe({"Id": 1, "tags": ["x"], "price": Decimal("1.5"), "none": None, "e": {}, "l": []}))
    assert glue_type(of) == (
        "struct<id:bigint,e:map<string,string>,l:array<string>,none:string,price:double,tags:array<string>>"
    )
    assert trino_type(of) == (
        'row("id" bigint, "e" map(varchar, varchar), "l" array(varchar), "none" varchar, "price" double, '
        '"tags" array(varchar))'
    )


def test_names_are_folded_and_collisions_get_a_stable_suffix() -> None:
    assert fold("Straße No.1") == "stra_e_no_1"
    given_names = give_names(["Id", "id", "ID"], {}, ["dt"])
    assert given_names["id"] == "id"
    assert len(set(given_names.values())) == 3
    assert given_names["ID"].startswith("id_")
    assert give_names(["ID"], {"Id": "id"})["ID"] == given_names["ID"]
    assert give_names(["dt"], {}, ["dt"])["dt"] != "dt"


def test_names_end_for_names_that_were_made_to_meet() -> None:
    """Every beginning of the hash of `A` is there as a name of its own."""
    digest = sha256(b"A").hexdigest()
    attributes = ["A", "a", *(f"a_{digest[:n]}" for n in range(8, 65, 8))]
    assert len(set(give_names(attributes, {}).values())) == len(attributes)


def test_names_once_given_stay() -> None:
    first = name_fields(observe({"Id": 1}))
    both = name_fields(merge(first, observe({"id": 2})))
    assert isinstance(both, Struct)
    assert both.by_key["Id"].name == "id"
    assert both.by_key["id"].name.startswith("id_")


DIGITS = Number(30, 20, 50, False)
STRUCT = Struct((Field("a", "a", Number()),))
OTHER = (Field("b", "b", TEXT),)


@pytest.mark.parametrize(
    ("old", "new", "readable"),
    [
        (NULL, Number(), True),
        (NULL, STRUCT, True),
        (Number(1, 0, 1), Number(5, 0, 5), True),
        (Number(), Number(1, 1, 2, False), False),
        (Number(), Number(25, 0, 25, False), False),
        (Number(1, 20, 21, False), Number(1, 21, 22, False), False),
        (Number(), TEXT, False),
        (TEXT, MIXED, False),
        (DIGITS, MIXED, True),
        (BOOLEAN, MIXED, False),
        (STRUCT, Struct((*STRUCT.fields, Field("b", "b", TEXT))), True),
        (STRUCT, Struct((Field("a", "a_1", Number()),)), False),
        (STRUCT, Struct((Field("a", "a", DIGITS),)), False),
        (STRUCT, Map(Number()), False),
        (List(NULL), List(TEXT), True),
        (List(NULL), List(Number()), False),
        (Struct(), Map(TEXT), True),
        (Struct(), STRUCT, False),
        (Struct((Field("a", "a", NULL), *OTHER)), Struct((Field("a", "a", DIGITS), *OTHER)), True),
        (Struct((Field("a", "a", NULL),)), STRUCT, False),
    ],
)  # fmt: skip
def test_what_old_files_can_give(old: Type, new: Type, readable: bool) -> None:
    assert files_still_readable(old, new) is readable


@given(TYPES, TYPES)
def test_a_type_reads_its_own_files(a: Type, b: Type) -> None:
    table = name_fields(merge(a, b, LIMIT))
    assert files_still_readable(table, table)
    files = written(narrow(table, a))
    if a != NULL:
        assert files_still_readable(files, table)
    assert signature(files) == signature(written(files))
