"""How much a table's schema may hold, and how much is gathered for that decision; each number with its reason."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of the type of one attribute while it is gathered from values.

    `struct_keys`: a map with more different keys is not a struct but `map<string,T>`, or JSON text where its values do
    not agree. A hundred fields are a record; more are data that somebody put into names.

    `key_length`: the same for a map with a key of more characters. A name of a field is never that long, and Glue ends
    at 255 too.

    `depth`: lists and maps within that many others are JSON text. DynamoDB nests 32 levels; people query fewer than
    ten. Each level is a field of the table's schema, so 31 nested lists would cost 32 of them.

    `size`: an attribute whose type has more nodes is JSON text, all of it. Nodes within a `Map` count `struct_keys`
    times (why: `types`), so this is a map of maps, or a map of structs with 190 fields. A node takes some 200 bytes.
    """

    struct_keys: int = 100
    key_length: int = 255
    depth: int = 10
    size: int = 20_000


LIMITS = Limits()

LINE_DEPTH = 64
"""Levels of lists and maps in one line; twice the limit of DynamoDB, and far from that of Python's stack."""


@dataclass(frozen=True)
class Budget:
    """The most that a table's schema may hold. The rest goes to the column `__other`: it loses its name, not its value.

    `columns` and `fields`: of the table; fields are all that have a field id (columns, fields of structs, elements of
    lists, keys and values of maps). `SELECT *` from `_current` takes Trino 2 s with 500 columns, 6 s with 1,000 and 12
    s with 1,500, most of which is planning. Fields within columns cost it less: 500 columns of 3,000 fields take twice
    as long as 500 without any. But each row is as wide as all fields of its file, whether it has them or not; the
    metadata has some 100 bytes for each in every schema that it keeps; and Glue refuses a table of some 3,600 columns.
    The table's own columns (`__operation`, `dt`…) are not counted.

    `column_fields`: of one column, so that one attribute cannot take what all others need. Rows are as wide as their
    columns, whether they have the fields or not: `[{}, {}, …]` takes that many values per element. With names of 127
    characters the type in Glue has 40,000 characters of the 131,072 that it may have.

    `schema_bytes`: of the schema's JSON, attributes' names included. It is a property of the table, a parameter in
    Glue, which may have 512,000 bytes; Glue's list of columns and comments grows with it.

    `pins` and `pins_bytes`: attributes that a user may name, and the JSON of it. They always get their columns, so they
    come on top of all other numbers.

    `widenings`: a column whose type has changed that often becomes JSON text, which never changes. A number needs two
    of them (`bigint`, `decimal(38,9)`, `decimal(38,18)`); each writes all files again that hold the column, so nobody
    who may write items may be able to cause one every night.

    `attributes` and `gathered`: of one run: the attributes without a column, in the order in which they would get one;
    and the sizes (`Limits.size`) of all observed types.
    """

    columns: int = 500
    fields: int = 1_000
    column_fields: int = 250
    schema_bytes: int = 256_000
    pins: int = 100
    pins_bytes: int = 60_000
    widenings: int = 3
    attributes: int = 2_000
    gathered: int = 100_000
    limits: Limits = LIMITS


BUDGET = Budget()

# https://docs.aws.amazon.com/glue/latest/webapi/API_Table.html, API_Column.html
COMMENT_CHARACTERS = 255
