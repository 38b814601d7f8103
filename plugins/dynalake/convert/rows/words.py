"""The memory of values in columns, in words of 8 bytes: a row is as wide as its columns, whatever values it has.

A column of structs has a word per field in each row, and a list of structs one per field of each element.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dynalake.lake.types.union import List, Map, Number, Struct, Type


def words_of(of: Type) -> int:
    """Return the words of one value in a column of this type, without those of a list's or map's elements."""
    match of:
        case Number():
            return 2 if of.kind == "decimal" else 1
        case Struct(fields):
            return 1 + sum(words_of(f.type) for f in fields)
        case _:
            return 1


def element_words(of: Type) -> int:
    """Return the most words that one element of a list or map in a column takes; 0 where there are none."""
    match of:
        case Struct(fields):
            return max((element_words(f.type) for f in fields), default=0)
        case List(element):
            return max(words_of(element), element_words(element))
        case Map(value):
            return max(1 + words_of(value), element_words(value))
        case _:
            return 0


def element_counter(of: Type) -> Callable[[Any], tuple[int, int]] | None:
    """Return a function that counts a value's list and map elements, and their words; None where the type has none."""
    match of:
        case Struct(fields):
            parts = {f.key: counter for f in fields if (counter := element_counter(f.type)) is not None}
            if not parts:
                return None
            return lambda value: _sum(parts[k](v) for k, v in value.items() if v is not None and k in parts)
        case List(element):
            return _of_elements(words_of(element), element_counter(element), lambda value: value)
        case Map(value):
            return _of_elements(1 + words_of(value), element_counter(value), lambda value: value.values())
        case _:
            return None


def _of_elements(
    words: int, inner: Callable[[Any], tuple[int, int]] | None, elements: Callable[[Any], Any]
) -> Callable[[Any], tuple[int, int]]:
    if inner is None:
        return lambda value: (len(value), len(value) * words)

    def count(value: Any) -> tuple[int, int]:
        within = _sum(inner(v) for v in elements(value) if v is not None)
        return len(value) + within[0], len(value) * words + within[1]

    return count


def _sum(pairs: Any) -> tuple[int, int]:
    elements = words = 0
    for some, their_words in pairs:
        elements += some
        words += their_words
    return elements, words
