"""A tree of expected types as the numbered nodes that `scan` follows."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np

from dynalake.convert.read import scan
from dynalake.lake.types import Boolean, Field, List, Map, Mixed, Null, Number, Struct, Text, Type
from dynalake.record.change import EXPIRED, SEQUENCE_NUMBER, TYPES

_KINDS: dict[type[Type], int] = {
    Null: scan.NULL,
    Boolean: scan.BOOL,
    Text: scan.TEXT,
    Mixed: scan.MIXED,
    List: scan.LIST,
    Map: scan.RAW,
}
_NUMBERS = {"bigint": scan.INT, "double": scan.DOUBLE, "decimal": scan.DECIMAL, "text": scan.DIGITS}


@dataclass(frozen=True)
class Node:
    """One place in a record where a value may be. `group`: the list's element that it is in; -1: one slot per row."""

    key: str
    type: Type
    kind: int
    group: int
    first: int = 0
    count: int = 0


def words_of(n: Node) -> int:
    return 2 if n.kind == scan.DECIMAL else 1


def _kind(key: str, of: Type) -> int:
    if key == SEQUENCE_NUMBER:
        return scan.SEQUENCE
    if key == TYPES:
        return scan.PATHS
    if isinstance(of, Number):
        return _NUMBERS[of.kind]
    if _has_map(of):
        return scan.RAW
    if isinstance(of, Struct):
        return scan.STRUCT if of.fields else scan.EMPTY
    return _KINDS[type(of)]


def _has_map(of: Type) -> bool:
    if isinstance(of, Struct):
        return any(_has_map(f.type) for f in of.fields)
    return isinstance(of, Map) or (isinstance(of, List) and _has_map(of.element))


def number_nodes(columns: list[tuple[str, Type]]) -> list[Node]:
    """The record as node 0; level by level, so that the children of each node are numbered in a row."""
    root = Struct(tuple(Field(key, "", kind) for key, kind in columns))
    nodes = [Node("", root, scan.STRUCT, -1)]
    for i in range(1 << 62):
        if i == len(nodes):
            return nodes
        n = nodes[i]
        first = len(nodes)
        if n.kind == scan.STRUCT:
            assert isinstance(n.type, Struct)
            nodes += [Node(f.key, f.type, _kind(f.key if i == 0 else "", f.type), n.group) for f in n.type.fields]
        elif n.kind == scan.LIST:
            assert isinstance(n.type, List)
            nodes.append(Node("", n.type.element, _kind("", n.type.element), first))
        nodes[i] = Node(n.key, n.type, n.kind, n.group, first, len(nodes) - first)
    raise AssertionError


def below_node(nodes: list[Node], node: int) -> list[int]:
    """A node and all that are in it."""
    n = nodes[node]
    return [node, *(each for child in range(n.first, n.first + n.count) for each in below_node(nodes, child))]


def make_program(nodes: list[Node], required: list[int]) -> scan.Program:
    """What `scan` follows. `required`: the nodes without which a line is no record."""
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
    return scan.Program(
        np.array([n.kind for n in nodes], np.uint8),
        np.array(scales, np.int64),
        np.array([n.first for n in nodes], np.int64),
        np.array([n.count for n in nodes], np.int64),
        by_key,
        np.concatenate([[0], ends[:-1]]).astype(np.int64),
        ends.astype(np.int64),
        np.frombuffer(b"".join(keys) + b"\0", np.uint8),
        never_null,
        np.array(required, np.int64),
    )
