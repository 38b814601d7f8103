"""A tree of expected types as the numbered nodes that `scan` follows."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dynalake.convert.read.compiled import scan
from dynalake.lake.types.union import TEXT, Boolean, Field, List, Map, Mixed, Null, Number, Struct, Text, Type
from dynalake.record.change import EVENT_TIME, EXPIRED, METADATA, SEQUENCE_NUMBER, TYPES

_KINDS: dict[type[Type], int] = {
    Null: scan.NULL,
    Boolean: scan.BOOL,
    Text: scan.TEXT,
    Mixed: scan.MIXED,
    List: scan.LIST,
    Map: scan.MAP,
}
_NUMBERS = {"bigint": scan.INT, "double": scan.DOUBLE, "decimal": scan.DECIMAL, "text": scan.DIGITS}


@dataclass(frozen=True)
class Node:
    """One place in a record where a value may be.

    `group`: the first node of the list's or map's elements that it is in; -1: it has one slot per row. `depth`: how
    many lists and maps it is in. `settled`: its type is the table's own, and does not change with what is read.
    """

    key: str
    type: Type
    kind: int
    group: int
    depth: int
    settled: bool
    first: int = 0
    count: int = 0


def words_of(n: Node) -> int:
    return 2 if n.kind == scan.DECIMAL else 1


def _kind(key: str, of: Type) -> int:
    if key == SEQUENCE_NUMBER:
        return scan.SEQUENCE
    if key == EVENT_TIME:
        return scan.MOMENT
    if key == TYPES:
        return scan.PATHS
    if isinstance(of, Number):
        return _NUMBERS[of.kind]
    if isinstance(of, Struct):
        return scan.STRUCT if of.fields else scan.EMPTY
    return _KINDS[type(of)]


def number_nodes(columns: list[tuple[str, Type, Type | None]]) -> list[Node]:
    """Return the nodes, the record as node 0; level by level, so that the children of a node have numbers in a row.

    `columns`: key, type, and the type that the table already has for it (None: none), which the type may extend.
    """
    root = Struct(tuple(Field(key, "", kind) for key, kind, _ in columns))
    nodes = [Node("", root, scan.STRUCT, -1, -1, False)]
    known: list[Type | None] = [None]
    for i in range(1 << 62):
        if i == len(nodes):
            return nodes
        n, first, depth = nodes[i], len(nodes), nodes[i].depth + 1
        match n.type, known[i]:
            case Struct(fields), before:
                known += [kind for _, _, kind in columns] if i == 0 else [_field_type(before, f.key) for f in fields]
                kinds = [_kind("" if i else f.key, f.type) for f in fields]
                children = [(f.key, f.type, kind, n.group) for f, kind in zip(fields, kinds, strict=True)]
            case List(element), before:
                known.append(before.element if isinstance(before, List) else None)
                children = [("", element, _kind("", element), first)]
            case Map(value), before:
                known += [TEXT, before.value if isinstance(before, Map) else None]
                children = [("", TEXT, scan.TEXT, first), ("", value, _kind("", value), first)]
            case _:
                children = []
        for (key, of, kind, group), before in zip(children, known[first:], strict=True):
            nodes.append(Node(key, of, kind, group, depth, before is not None))
        nodes[i] = replace(n, first=first, count=len(children))
    raise AssertionError


def _field_type(struct: Type | None, key: str) -> Type | None:
    field = struct.by_key.get(key) if isinstance(struct, Struct) else None
    return None if field is None else field.type


def below_node(nodes: list[Node], node: int) -> list[int]:
    """Return a node and all nodes in it."""
    n = nodes[node]
    return [node, *(i for child in range(n.first, n.first + n.count) for i in below_node(nodes, child))]


def make_program(nodes: list[Node], required: list[int], dense: int = -1) -> scan.Program:
    """Return what `scan` follows. `required`: nodes that every record has; `dense`: as in `scan.Program`."""
    keys = [json.dumps(n.key, ensure_ascii=False)[1:-1].encode("utf-8", "surrogatepass") for n in nodes]
    ends = np.cumsum([len(k) for k in keys])
    by_key = np.zeros(len(nodes), np.int64)
    for n in nodes:
        if n.kind == scan.STRUCT:
            children = range(n.first, n.first + n.count)
            by_key[n.first : n.first + n.count] = sorted(children, key=lambda c: keys[c])
    scales = [n.type.scale if n.kind == scan.DECIMAL and isinstance(n.type, Number) else 0 for n in nodes]
    never_null = np.zeros(len(nodes), np.uint8)
    never_null[required] = 1
    never_null[[i for i, n in enumerate(nodes[: nodes[0].count + 1]) if n.key in (EXPIRED, TYPES)]] = 1
    columns = range(1, nodes[0].count + 1)
    below = [below_node(nodes, i) for i in columns]
    lists = [[node for node in numbers if nodes[node].group == node] for numbers in below]
    weight = np.zeros(len(nodes), np.int64)
    for n in nodes:
        if n.group >= 0:
            weight[n.group] += words_of(n)
    strict = never_null.copy()
    strict[[i for i in columns if nodes[i].key in METADATA]] = 1
    return scan.Program(
        np.array([n.kind for n in nodes], np.uint8),
        np.array(scales, np.int64),
        np.array([n.first for n in nodes], np.int64),
        np.array([n.count for n in nodes], np.int64),
        np.array([n.first + (n.kind == scan.MAP) for n in nodes], np.int64),
        by_key,
        np.concatenate([[0], ends[:-1]]).astype(np.int64),
        ends.astype(np.int64),
        np.frombuffer(b"".join(keys) + b"\0", np.uint8),
        never_null,
        np.array(required, np.int64),
        np.array([n.group for n in nodes], np.int64),
        weight,
        strict,
        np.array([n.settled and n.kind == scan.STRUCT for n in nodes], np.uint8),
        *_joined(below),
        *_joined(lists),
        dense,
    )


def _joined(parts: list[list[int]]) -> tuple[Any, Any]:
    """Return where in the second array each part begins; of columns, which are numbered from 1."""
    ends = np.cumsum([0, 0, *map(len, parts)]).astype(np.int64)
    return ends, np.array([node for part in parts for node in part], np.int64)
