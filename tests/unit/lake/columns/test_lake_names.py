"""Names of columns and fields depend only on their attribute, whatever the others are."""

from __future__ import annotations

import random
import re
from hashlib import sha256
from itertools import product

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dynalake.lake.columns.admission import ColumnNames
from dynalake.lake.columns.column import RESERVED_NAMES
from dynalake.lake.columns.column_names import NAME_LIMIT, name_of
from dynalake.lake.columns.column_types import settle
from dynalake.lake.columns.pins import Pins
from dynalake.lake.columns.schema import TableSchema
from dynalake.lake.types.union import MIXED, Map, Struct, holds, observe
from dynalake.record.key import ItemKey, KeyAttribute

KEY = ItemKey(KeyAttribute("pk", "S"))
NEW = TableSchema.of_new_table(KEY)
is_valid = re.compile(rf"[a-z_][a-z0-9_]{{0,{NAME_LIMIT - 1}}}").fullmatch

SIMILAR = st.text("aA_1-é", max_size=4)
ANY = st.one_of(SIMILAR, SIMILAR.map(name_of), st.text(max_size=5), st.text("aA", min_size=120, max_size=140))


def colliding() -> tuple[str, str]:
    """Return two attributes that fold to the same text and have the same hash, as an attacker could find them."""
    attributes: dict[str, str] = {}
    for letters in product("aA", repeat=19):
        name = "".join(letters)
        column = name_of(name)
        if name != name.lower() and column in attributes:
            return attributes[column], name
        attributes[column] = name
    raise AssertionError


@pytest.fixture(scope="module")
def pair() -> tuple[str, str]:
    return colliding()


@given(st.lists(ANY, unique=True, max_size=30))
@example(["A", "a", *(f"a_{sha256(b'A').hexdigest()[:n]}" for n in range(8, 65, 8))])
@example(["userId", "userid", "USERID", "UserID", "user_id", name_of("userId")])
def test_each_attribute_has_a_valid_unique_name(attributes: list[str]) -> None:
    names = [name_of(a, RESERVED_NAMES) for a in attributes]
    assert len(set(names)) == len(names)
    for attribute, name in zip(attributes, names, strict=True):
        assert is_valid(name)
        assert name not in RESERVED_NAMES
        suffixed = re.search("_[0-9a-f]{8}$", attribute) is not None
        assert (name == attribute) == (bool(is_valid(attribute)) and not suffixed and attribute not in RESERVED_NAMES)


@pytest.mark.parametrize(
    ("attribute", "name"),
    [
        ("status", "status"),
        ("user_id", "user_id"),
        ("userId", f"userid_{sha256(b'userId').hexdigest()[:8]}"),
        ("2019", f"_2019_{sha256(b'2019').hexdigest()[:8]}"),
        ("dt", f"dt_{sha256(b'dt').hexdigest()[:8]}"),
        ("__other", f"__other_{sha256(b'__other').hexdigest()[:8]}"),
        ("_deleted", f"_deleted_{sha256(b'_deleted').hexdigest()[:8]}"),
        ("__typename", "__typename"),
        ("day_20240101", f"day_20240101_{sha256(b'day_20240101').hexdigest()[:8]}"),
        ("📅", f"__{sha256('📅'.encode()).hexdigest()[:8]}"),
        ("x" * 300, "x" * 118 + f"_{sha256(b'x' * 300).hexdigest()[:8]}"),
    ],
)
def test_names(attribute: str, name: str) -> None:
    assert NEW.names.of(attribute) == name


def test_no_attribute_takes_the_name_of_another() -> None:
    """Writing `Is_Admin` first does not claim the column `is_admin`."""
    for first, second in (("Is_Admin", "is_admin"), ("is_admin", "Is_Admin")):
        schema = NEW.admit({first: observe("x")}).admit({second: observe(True)})
        assert {c.attribute: c.glue_type for c in schema.columns if c.name == "is_admin"} == {
            "is_admin": "boolean" if first == "Is_Admin" else "string"
        }


@given(st.lists(ANY, unique=True, max_size=12), st.randoms(use_true_random=False))
def test_names_do_not_depend_on_the_order(attributes: list[str], rnd: random.Random) -> None:
    at_once = NEW.admit({a: observe(1) for a in attributes})
    rnd.shuffle(attributes)
    one_by_one = NEW
    for attribute in attributes:
        one_by_one = one_by_one.admit({attribute: observe(1)})
    assert {(c.attribute, c.name) for c in one_by_one.columns} == {(c.attribute, c.name) for c in at_once.columns}


def test_the_second_of_two_colliding_attributes_has_no_column(pair: tuple[str, str]) -> None:
    first, second = pair
    assert name_of(first) == name_of(second)
    schema = NEW.admit({first: observe(1)}).admit({first: observe(1), second: observe("x")})
    assert [c.attribute for c in schema.columns] == ["pk", first]
    assert schema.left_out({first: observe(1), second: observe("x")}) == (second,)


def test_a_map_with_colliding_keys_does_not_become_a_struct(pair: tuple[str, str]) -> None:
    first, second = pair
    assert isinstance(settle(observe({first: 1, "b": 2})), Struct)
    both = {first: 1, second: 2}
    column = settle(observe(both))
    assert isinstance(column, Map)
    assert holds(column, both)
    assert settle(observe({first: 1, second: "x"})) == MIXED
    # In an existing struct the second key gets no field; at night the struct becomes a map.
    schema = NEW.admit({"m": observe({first: 1})}).admit({"m": observe(both)})
    column = schema.known["m"].type
    assert isinstance(column, Struct)
    assert len(column.fields) == 1
    assert isinstance(schema.widen_for({"m": observe(both)}).known["m"].type, Map)


# -- keys and pins -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "names"),
    [
        (("PK", "SK"), ["pk", "sk"]),
        (("userId", "createdAt"), ["userid", "createdat"]),
        (("id", "Id"), ["id", name_of("Id")]),
        (("Id", "id"), [name_of("Id"), "id"]),
        (("dt", "__key"), [name_of("dt", ["dt"]), name_of("__key", ["__key"])]),
        (("1st", "📅"), ["_1st", "_"]),
    ],
)
def test_keys_have_their_names_without_a_suffix(key: tuple[str, str], names: list[str]) -> None:
    """The key is known before any item, so no other attribute can have its name."""
    columns = ColumnNames(ItemKey(KeyAttribute(key[0], "S"), KeyAttribute(key[1], "S")), Pins())
    assert [columns.of(a) for a in key] == names
    others = {columns.of(a) for a in ("pk", "sk", "userid", "id_", "createdat", "_1st", "_") if a not in key}
    assert not others & set(names)


def test_a_pinned_name_belongs_to_no_other_attribute() -> None:
    schema = TableSchema.of_new_table(KEY, Pins(names={"userId": "user_id"}))
    schema = schema.admit({"user_id": observe("x"), "userId": observe(1)})
    assert {c.attribute: c.name for c in schema.columns} == {
        "pk": "pk",
        "userId": "user_id",
        "user_id": name_of("user_id", ["user_id"]),
    }
