"""The SQL of `{t}_current`, `{t}_removed` and `{t}_history`, for every engine from one text.

    current   one row per item that exists now: the state's, unless the item has changed since the fold; and of the
              changes since then the newest of each item. Beside the attributes it has `__event_time` and
              `__sequence_number`: when the item became what it is, and by which change.
    removed   one row per item that was gone at the fold, with the last image where the stream had it, when that was,
              and whether TTL did it (`__expired`).
    history   every image with the time in which it was the item's: from `__valid_from` up to, and without,
              `__valid_to` (milliseconds since the epoch; null in the one that `__is_current`). The snapshot's is an
              item's first: it holds from when it was read, up to the first change.

No JSON, no cast, no lambda: columns are taken whole. The changes since the fold are found by their time and by their
day, which is at most one before that of their time; so what is read next to the state does not grow with history.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pyiceberg.schema import Schema
from pyiceberg.types import (
    BooleanType,
    DecimalType,
    DoubleType,
    IcebergType,
    ListType,
    LongType,
    MapType,
    StringType,
    StructType,
)

from dynalake.days import shift_day
from dynalake.lake.columns.column import DAY, DELETED, KEY
from dynalake.lake.columns.schema import OTHER
from dynalake.lake.current.state_schema import RUN
from dynalake.names import Lake
from dynalake.record.change import EVENT_TIME, EXPIRED, METADATA, OPERATION, SEQUENCE_NUMBER, TYPES

VALID_FROM, VALID_TO, IS_CURRENT = "__valid_from", "__valid_to", "__is_current"


@dataclass(frozen=True)
class Dialect:
    """How an engine writes names, and a table as of one of its snapshots."""

    name: str
    quote: str
    as_of: Callable[[int], str]

    def quoted(self, name: str) -> str:
        return f"{self.quote}{name}{self.quote}"


TRINO = Dialect("trino", '"', lambda snapshot: f" FOR VERSION AS OF {snapshot}")
"""The dialect of Trino and Athena."""
SPARK = Dialect("spark", "`", lambda snapshot: f" VERSION AS OF {snapshot}")
DUCKDB = Dialect("duckdb", '"', lambda snapshot: f" AT (VERSION => {snapshot})")
PLAIN = Dialect("sql", '"', lambda snapshot: "")
"""The dialect of Redshift and Snowflake, which read no older snapshot of a table in another catalog."""

DIALECTS = {dialect.name: dialect for dialect in (TRINO, SPARK, DUCKDB, PLAIN)}


@dataclass(frozen=True)
class ViewSource:
    """The source of the views.

    `changes` and `state`: the tables, as the dialect names them. `columns`: the attributes' columns with their types,
    in order. `identity` tells items apart; `key`: the columns of the key's attributes that follow from it. `folded_to`:
    milliseconds, up to which all changes are in the state; `open_day`: the first `dt` that may hold later ones.
    `pinned`: the snapshots of both tables that are read while types widen, the changes' first.
    """

    changes: str
    state: str
    columns: tuple[tuple[str, IcebergType], ...]
    identity: tuple[str, ...]
    key: tuple[str, ...]
    folded_to: int
    open_day: str
    pinned: tuple[int, int] | None = None
    dialect: Dialect = TRINO

    @property
    def changes_now(self) -> str:
        return self.changes + (self.dialect.as_of(self.pinned[0]) if self.pinned else "")

    @property
    def state_now(self) -> str:
        return self.state + (self.dialect.as_of(self.pinned[1]) if self.pinned else "")


FIRST_DAY = shift_day("19700101", -1)
"""A day before every day of a change, and after the snapshot's."""


def open_day(folded_to: int, lake: Lake) -> str:
    """Return the first `dt` that may hold changes after a time (milliseconds): no row is further before its day."""
    if folded_to <= 0:
        return FIRST_DAY
    return max(FIRST_DAY, shift_day(lake.day_of(datetime.fromtimestamp(folded_to / 1000, UTC)), -1))


def attribute_columns(schema: Schema) -> tuple[tuple[str, IcebergType], ...]:
    """Return the columns of attributes, in a table's order; and those of others, if they have such a type."""
    own = {*METADATA, OTHER, DAY, KEY, DELETED, RUN}
    return tuple((f.name, f.field_type) for f in schema.fields if f.name not in own and is_known(f.field_type))


def _own(*names: str) -> list[tuple[str, IcebergType]]:
    types: dict[str, IcebergType] = {
        OTHER: MapType(1, StringType(), 2, StringType(), value_required=False),
        **dict.fromkeys((TYPES, OPERATION, SEQUENCE_NUMBER), StringType()),
        **dict.fromkeys((EVENT_TIME, VALID_FROM, VALID_TO), LongType()),
        **dict.fromkeys((EXPIRED, IS_CURRENT), BooleanType()),
    }
    return [(name, types[name]) for name in names]


ViewColumns = Sequence[tuple[str, IcebergType]]


def current_columns(source: ViewSource) -> ViewColumns:
    return [*source.columns, *_own(OTHER, TYPES, EVENT_TIME, SEQUENCE_NUMBER)]


def removed_columns(source: ViewSource) -> ViewColumns:
    return [*source.columns, *_own(OTHER, TYPES, EXPIRED, EVENT_TIME, SEQUENCE_NUMBER)]


def history_columns(source: ViewSource) -> ViewColumns:
    more = (OTHER, TYPES, OPERATION, EVENT_TIME, SEQUENCE_NUMBER, VALID_FROM, VALID_TO, IS_CURRENT)
    return [*source.columns, *_own(*more)]


def current_sql(source: ViewSource) -> str:
    """Return the text of `{t}_current`."""
    q = source.dialect.quoted
    columns = ", ".join(q(name) for name, _ in current_columns(source))
    # No column has a blank in its name. A column called `s` would hide a table called `s`.
    item, later = q("the item"), q("a later change")
    since = f"{q(DAY)} >= '{source.open_day}' AND {q(EVENT_TIME)} > {source.folded_to}"
    same = " AND ".join(f"{later}.{q(name)} = {item}.{q(name)}" for name in source.identity)
    return (
        f"SELECT {columns}\n"
        f"FROM {source.state_now} {item}\n"
        f"WHERE NOT {q(DELETED)} AND NOT EXISTS (\n"
        f"SELECT 1 FROM {source.changes_now} {later} WHERE {since} AND {same})\n"
        "UNION ALL\n"
        f"SELECT {columns}\n"
        f"FROM (SELECT *, row_number() OVER (PARTITION BY {_partition(source)} "
        f"ORDER BY {q(SEQUENCE_NUMBER)} DESC) AS {q('__rank')}\n"
        f"FROM {source.changes_now} WHERE {since}) {q('the newest')}\n"
        f"WHERE {q('__rank')} = 1 AND {q(OPERATION)} <> 'REMOVE'"
    )


def removed_sql(source: ViewSource) -> str:
    """Return the text of `{t}_removed`."""
    q = source.dialect.quoted
    columns = ", ".join(q(name) for name, _ in removed_columns(source))
    return f"SELECT {columns}\nFROM {source.state_now}\nWHERE {q(DELETED)}"


def history_sql(source: ViewSource) -> str:
    """Return the text of `{t}_history`.

    Where a clock went back, an image holds from the latest time of all changes up to it, so that no two hold at a time.
    """
    q = source.dialect.quoted
    held = [*source.columns, *_own(OTHER, TYPES, OPERATION, EVENT_TIME, SEQUENCE_NUMBER)]
    columns = ", ".join(q(name) for name, _ in held)
    in_order = f"OVER (PARTITION BY {_partition(source)} ORDER BY {q(SEQUENCE_NUMBER)}"
    snapshot = f"{q(OPERATION)} = 'SNAPSHOT'"
    start, end = q(VALID_FROM), q(VALID_TO)
    return (
        f"SELECT {columns}, CASE WHEN {snapshot} AND {end} < {start} THEN {end} ELSE {start} END AS {start}, "
        f"{end}, {end} IS NULL AS {q(IS_CURRENT)}\n"
        f"FROM (SELECT *, lead({start}) {in_order}) AS {end}\n"
        f"FROM (SELECT *, coalesce(max(CASE WHEN {snapshot} THEN NULL ELSE {q(EVENT_TIME)} END) "
        f"{in_order} ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW), {q(EVENT_TIME)}) AS {start}\n"
        f"FROM {source.changes_now}) {q('a change')}) {q('a change')}\n"
        f"WHERE {q(OPERATION)} <> 'REMOVE'"
    )


def _partition(source: ViewSource) -> str:
    """Return the columns that tell items apart, and key columns that follow: a filter on these goes below a window."""
    return ", ".join(source.dialect.quoted(name) for name in dict.fromkeys([*source.identity, *source.key]))


def trino_type(of: IcebergType) -> str:
    """Return a type as Trino's and Athena's SQL writes it: `row("id" bigint, "tags" array(varchar))`."""
    if isinstance(of, StructType):
        return f"row({', '.join(f'{chr(34)}{f.name}{chr(34)} {trino_type(f.field_type)}' for f in of.fields)})"
    if isinstance(of, ListType):
        return f"array({trino_type(of.element_type)})"
    if isinstance(of, MapType):
        return f"map({trino_type(of.key_type)}, {trino_type(of.value_type)})"
    return "varchar" if isinstance(of, StringType) else _simple(of)


def glue_type(of: IcebergType) -> str:
    """Return a type as Glue has it: `struct<id:bigint,tags:array<string>>`."""
    if isinstance(of, StructType):
        return f"struct<{','.join(f'{f.name}:{glue_type(f.field_type)}' for f in of.fields)}>"
    if isinstance(of, ListType):
        return f"array<{glue_type(of.element_type)}>"
    if isinstance(of, MapType):
        return f"map<{glue_type(of.key_type)},{glue_type(of.value_type)}>"
    return "string" if isinstance(of, StringType) else _simple(of)


def is_known(of: IcebergType) -> bool:
    """Return whether it is one of the types that columns of attributes have."""
    if isinstance(of, StructType):
        return all(is_known(f.field_type) for f in of.fields)
    if isinstance(of, ListType):
        return is_known(of.element_type)
    if isinstance(of, MapType):
        return is_known(of.key_type) and is_known(of.value_type)
    return isinstance(of, StringType | DecimalType | BooleanType | LongType | DoubleType)


def _simple(of: IcebergType) -> str:
    if isinstance(of, DecimalType):
        return f"decimal({of.precision},{of.scale})"
    if isinstance(of, BooleanType):
        return "boolean"
    if isinstance(of, DoubleType):
        return "double"
    assert isinstance(of, LongType), of
    return "bigint"
