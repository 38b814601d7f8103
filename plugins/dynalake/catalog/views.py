"""The views `{t}` (every change) and `{t}_current` (the latest image of each item), and the watermark in them.

A view reads Parquet up to the watermark and raw JSON behind it, by predicates that complement each other: a change is
never seen twice or missed, and moving the watermark is one call. Each view stands on the tables alone, not on the
other view, so each is whole by itself at any moment.

What the stream delivers twice is shown once: Parquet holds each change on the day on which it came first, the raw side
is deduplicated over all its days, and what it repeats of the last day in Parquet is left out. A repeat of a day before
that stands twice in `{t}` until its own day is compacted; `{t}_current` is not affected.

How Athena keeps a view in Glue: https://docs.aws.amazon.com/athena/latest/ug/views.html, and Trino's
`ViewReaderUtil` (`/* Presto View: base64 */`).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dynalake.catalog.expressions import quote, raw_expression
from dynalake.catalog.tables import TABLE, Found, TableInput, change_table, check_owner, read_table
from dynalake.clients import Clients
from dynalake.days import SNAPSHOT_DAY, made_before, shift_day
from dynalake.errors import CatalogError
from dynalake.lake.layout import glue_type, trino_type
from dynalake.lake.schema import DAY, METADATA_TYPES, TableSchema
from dynalake.lake.types import TEXT, Null, Number, Type
from dynalake.names import TableNames
from dynalake.record.change import EVENT_TIME, OPERATION, SEQUENCE_NUMBER

WATERMARK = "dynalake.watermark"
HOLD = "dynalake.hold"
"""While column types change: the watermark to come back to. A view without it is as it should be."""

# https://docs.aws.amazon.com/glue/latest/webapi/API_TableInput.html: ViewOriginalText
TEXT_LIMIT = 409_600


@dataclass(frozen=True)
class Watermark:
    """What the views read from Parquet: the days up to and including `through` ('' none yet), and the snapshot."""

    through: str = ""
    snapshot: bool = False

    @property
    def parquet_predicate(self) -> str | None:
        """The days that are read from Parquet; None where there are none. `00000000` sorts before every day."""
        if self.through:
            days = f"{quote(DAY)} <= '{self.through}'"
            return days if self.snapshot else f"{quote(DAY)} > '{SNAPSHOT_DAY}' AND {days}"
        return f"{quote(DAY)} = '{SNAPSHOT_DAY}'" if self.snapshot else None

    @property
    def json_predicate(self) -> str:
        """All the other days."""
        if self.through:
            days = f"{quote(DAY)} > '{self.through}'"
            return days if self.snapshot else f"({quote(DAY)} = '{SNAPSHOT_DAY}' OR {days})"
        return f"{quote(DAY)} > '{SNAPSHOT_DAY}'" if self.snapshot else f"{quote(DAY)} >= '{SNAPSHOT_DAY}'"

    def covers(self, day: str) -> bool:
        """Whether the views read this day from Parquet."""
        return self.snapshot if day == SNAPSHOT_DAY else day <= self.through

    def to_json(self) -> str:
        return json.dumps({"through": self.through, "snapshot": self.snapshot})

    @classmethod
    def from_json(cls, text: str) -> Watermark:
        return cls(**json.loads(text))


@dataclass(frozen=True)
class ViewState:
    """What both views are made from. `absent`, `restore` and `since` only while days or types change (`docs/adr/0001`):

    columns that are null on the Parquet side, the watermark to come back to, and the first of the days in Parquet that
    may hold what came again on a raw day; '' is the last alone.
    """

    schema: TableSchema
    watermark: Watermark
    absent: frozenset[str] = frozenset()
    restore: Watermark | None = None
    since: str = ""


def changes_sql(names: TableNames, state: ViewState) -> str:
    """The text of `{t}`."""
    outputs = [name for name, _ in changes_columns(state.schema)]
    with_raw, branches = _branches(names, state, outputs, every_change=True)
    return with_raw + "\n" + "\nUNION ALL\n".join(branches)


def current_sql(names: TableNames, state: ViewState) -> str:
    """The text of `{t}_current`."""
    schema = state.schema
    outputs = [name for name, _ in current_columns(schema)]
    with_raw, branches = _branches(names, state, [*outputs, OPERATION, DAY], every_change=False)
    changes = "\nUNION ALL\n".join(branches)
    keys = [quote(c.name) for c in schema.key_columns] + [quote(name) for name, _ in _misfits(schema)]
    return (
        f"{with_raw},\nchanges AS (\n{changes}\n),\n"
        f"ranked AS (\nSELECT *, row_number() OVER (PARTITION BY {', '.join(keys)} ORDER BY {quote(SEQUENCE_NUMBER)} "
        f'DESC, {quote(DAY)} DESC) AS "__rank" FROM changes\n)\n'
        f"SELECT {', '.join(map(quote, outputs))}\nFROM ranked\n"
        f"WHERE \"__rank\" = 1 AND {quote(OPERATION)} <> 'REMOVE'"
    )


def changes_columns(schema: TableSchema) -> list[tuple[str, Type]]:
    """What `{t}` shows: the attributes, the metadata, the day."""
    return [*((c.name, c.type) for c in schema.columns), *METADATA_TYPES.items(), (DAY, TEXT)]


def current_columns(schema: TableSchema) -> list[tuple[str, Type]]:
    """What `{t}_current` shows: the attributes, and which change they come from."""
    shown = (EVENT_TIME, SEQUENCE_NUMBER)
    return [*((c.name, c.type) for c in schema.columns), *((name, METADATA_TYPES[name]) for name in shown)]


def _misfits(schema: TableSchema) -> list[tuple[str, str]]:
    """`(extra column, key column)` per numeric key column.

    A raw key that does not fit the key column's type is null there. Beside it stands its text, so that two items with
    such keys are still two.
    """
    numbers = [c.name for c in schema.key_columns if isinstance(c.type, Number) and c.type.kind != "text"]
    return [(f"__misfit{'' if i == 0 else i}", name) for i, name in enumerate(numbers)]


def _branches(names: TableNames, state: ViewState, outputs: list[str], *, every_change: bool) -> tuple[str, list[str]]:
    schema, watermark = state.schema, state.watermark
    # A column that was never more than null is in no file, and may become anything while this view stands.
    absent = state.absent | {c.name for c in schema.columns if isinstance(c.type, Null)}
    database = quote(names.lake.database)
    kinds: dict[str, Type] = {**{c.name: c.type for c in schema.columns}, **METADATA_TYPES, DAY: TEXT}
    identity = ", ".join(quote(n) for n in [*(c.name for c in schema.key_columns), SEQUENCE_NUMBER])
    # The stream delivers at least once: what came twice is shown once, as compaction leaves it.
    with_raw = (
        f'WITH raw AS (\nSELECT *, row_number() OVER (PARTITION BY {identity} ORDER BY {quote(DAY)}) AS "__rank"\n'
        f"FROM {database}.{quote(names.raw_table)}\n"
        f"WHERE {watermark.json_predicate} AND {quote(OPERATION)} <> 'CANARY'\n)"
    )
    raw = [f"{raw_expression(quote(n), kinds[n])} AS {quote(n)}" for n in outputs]
    parquet = [f"CAST(NULL AS {trino_type(kinds[n])}) AS {quote(n)}" if n in absent else quote(n) for n in outputs]
    source, condition = "raw", '"__rank" = 1'
    if every_change and (last := _last_day(names, state)) is not None:
        with_raw += f",\n{last[0]}"
        source, condition = f"{source} {last[1]}", f"{condition} AND {last[2]}"
    if not every_change:
        for extra, name in _misfits(schema):
            typed = raw_expression(quote(name), kinds[name])
            raw.append(f"IF({typed} IS NULL, {quote(name)}) AS {quote(extra)}")
            parquet.append(f"CAST(NULL AS varchar) AS {quote(extra)}")
    branches = []
    if watermark.parquet_predicate is not None:
        branches.append(
            f"SELECT {', '.join(parquet)}\nFROM {database}.{quote(names.typed_table)}\n"
            f"WHERE {watermark.parquet_predicate}"
        )
    branches.append(f"SELECT {', '.join(raw)}\nFROM {source}\nWHERE {condition}")
    return with_raw, branches


def _last_day(names: TableNames, state: ViewState) -> tuple[str, str, str] | None:
    """What the last day in Parquet holds, how raw rows are joined with it, and which are not in it; None without one.

    It reads three columns of one partition, or four, and of more while days that were compacted are read raw. Only what
    was made before the last day was over can be there, so no other row enters the join.
    """
    through, schema = state.watermark.through, state.schema
    if not through or state.absent.intersection(c.name for c in schema.key_columns):
        return None
    kinds: dict[str, Type] = {**{c.name: c.type for c in schema.key_columns}, SEQUENCE_NUMBER: TEXT}
    days = f"{quote(DAY)} = '{through}'"
    if state.since and state.since < through:
        days = f"{quote(DAY)} BETWEEN '{state.since}' AND '{through}'"
    seen = {name: quote(f"seen {name}") for name in kinds}  # no column has a blank in its name
    before = made_before(shift_day(through, 1), names.lake.zone)
    made = raw_expression(quote(EVENT_TIME), METADATA_TYPES[EVENT_TIME])
    same = [f"{raw_expression(quote(name), kind)} = {seen[name]}" for name, kind in kinds.items()]
    return (
        f"seen AS (\nSELECT {', '.join(f'{quote(name)} AS {alias}' for name, alias in seen.items())}\n"
        f"FROM {quote(names.lake.database)}.{quote(names.typed_table)}\nWHERE {days}\n)",
        f"LEFT JOIN seen ON {' AND '.join([f'{made} < {before}', *same])}",
        f"{seen[SEQUENCE_NUMBER]} IS NULL",
    )


def view_input(names: TableNames, name: str, sql: str, columns: list[tuple[str, Type]], state: ViewState) -> TableInput:
    """The Glue TableInput with which Athena keeps a view."""
    definition: dict[str, Any] = {
        "originalSql": sql,
        "catalog": "awsdatacatalog",
        "schema": names.lake.database,
        "columns": [{"name": column, "type": trino_type(kind)} for column, kind in columns],
    }
    text = f"/* Presto View: {base64.b64encode(json.dumps(definition).encode()).decode()} */"
    if len(text) > TEXT_LIMIT:
        raise CatalogError(
            f"The text of the view {name} has {len(text)} characters",
            allowed=f"{TEXT_LIMIT}",
            action=f"query {names.typed_table} and {names.raw_table}, and have fewer attributes at the top level",
            table=names.table,
        )
    return {
        "Name": name,
        "TableType": "VIRTUAL_VIEW",
        "Parameters": {
            "presto_view": "true",
            "comment": "Presto View",
            TABLE: names.table,
            WATERMARK: state.watermark.to_json(),
            **({} if state.restore is None else {HOLD: state.restore.to_json()}),
        },
        "PartitionKeys": [],
        "StorageDescriptor": {
            "Columns": [{"Name": column, "Type": glue_type(kind)} for column, kind in columns],
            "Location": "",
            "SerdeInfo": {},
        },
        "ViewOriginalText": text,
        "ViewExpandedText": "/* Presto View */",
    }


def read_watermark(clients: Clients, names: TableNames) -> Watermark:
    """The watermark in force; nothing is read from Parquet where there is no view yet."""
    found = read_table(clients, names.lake.database, names.changes_view)
    return Watermark() if found is None else parse_watermark(found)


def read_hold(clients: Clients, names: TableNames) -> Watermark | None:
    """The watermark to come back to, where a change of column types was begun and is not finished; else None.

    Either view may be the one that still waits: the first to be held is the first to be released.
    """
    for name in (names.changes_view, names.latest_view):
        found = read_table(clients, names.lake.database, name)
        if found is not None and (hold := parse_hold(found)) is not None:
            return hold
    return None


def parse_watermark(found: Found) -> Watermark:
    return Watermark.from_json(found.parameters.get(WATERMARK, "{}"))


def parse_hold(found: Found) -> Watermark | None:
    text = found.parameters.get(HOLD)
    return None if text is None else Watermark.from_json(text)


def write_views(
    clients: Clients, names: TableNames, decide: Callable[[Watermark, Watermark | None], ViewState]
) -> bool:
    """Both views as `decide` says, one call each. True if something was written.

    `decide` gets the view's watermark, and the one to come back to where the view is held (`HOLD`).

    `decide` is called for each view and again whenever somebody else changed it meanwhile, so it reads the schema
    itself: whoever changes the schema writes the views afterwards, and the last to write has seen the last schema.
    """
    written = False
    for name, sql, columns in (
        (names.changes_view, changes_sql, changes_columns),
        (names.latest_view, current_sql, current_columns),
    ):

        def one(
            found: Found | None,
            name: str = name,
            sql: Callable[[TableNames, ViewState], str] = sql,
            columns: Callable[[TableSchema], list[tuple[str, Type]]] = columns,
        ) -> TableInput:
            if found is None:
                state = decide(Watermark(), None)
            else:
                check_owner(names, name, found)
                state = decide(parse_watermark(found), parse_hold(found))
            return view_input(names, name, sql(names, state), columns(state.schema), state)

        written |= change_table(clients, names.lake.database, name, one)
    return written
