"""JSON Lines into columns: one compiled pass that reads, types and checks every value.

No existing JSON reader keeps every digit of every value, so this one is our own; `docs/adr/0004-compiled-reader.md`
says what else was tried. It is compiled at its first use, and works without Python's lock.

`scan` follows a program: the tree of types that the values are expected to have, as numbered nodes. A line in a form
that needs more is *odd*: it is left to `raw.parse_line`, which decides about every line in doubt. So a value is either
read here exactly, or not at all. A value that is not in the program makes its line odd too, or it alone is left out and
its place is reported: an *extra*.

It is all one module: its compiled form on disk is compiled again when this file changes, and only then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numba import njit

NULL, BOOL, INT, DOUBLE, DECIMAL, TEXT, LIST, STRUCT, MIXED, DIGITS, EMPTY, MAP, SEQUENCE, PATHS, MOMENT = range(15)
"""The kinds of values that a node accepts. `EMPTY`: an empty object; `MAP`: an object of any keys, which ascend;
`MOMENT`: an integer of digits only; `PATHS`: an object as its own text, whose keys may come in any order. The caller
checks that no key comes twice.
"""

SAW_NULL, SAW_BOOL, SAW_NUMBER, SAW_TEXT, SAW_LIST, SAW_OBJECT = (1 << bit for bit in range(6))

VALUE, NONE = 1, 2
"""The states of a slot that was touched."""

DEPTH = 64
"""The same as `budget.LINE_DEPTH`."""

PADDING = b"\n" * 16
"""Line breaks that must follow the text: values are read without a test for its end."""

LENGTH_BITS, ESCAPED = 32, 63
_NEAR = 6
_FEW_TYPES = 256
_EXACT_POWER = 22  # 10^22 is the largest power of ten that a double holds
_CHUNK_DIGITS = 18

Array = Any  # numpy's, of the type in the comment next to it


_Function = TypeVar("_Function", bound=Callable[..., Any])


def _compiled(function: _Function) -> _Function:
    """Return the function, compiled at its first call, and kept on disk if possible."""
    try:
        return njit(nogil=True, cache=True)(function)  # type: ignore[return-value]
    except RuntimeError:  # neither the package's folder nor the user's cache can be written
        return njit(nogil=True)(function)  # type: ignore[return-value]


class Program(NamedTuple):
    """The nodes. Node 0 is the record. Numbers in a row: a struct's fields, a list's element, a map's key and value.

    The two of a map are called an element of it too: they have a slot for each of its entries.
    """

    kind: Array  # uint8
    scale: Array  # int64, of a decimal
    first: Array  # int64, first child
    count: Array  # int64, children
    taken: Array  # int64: of a list or a map, the child whose slots are its elements' values
    by_key: Array  # int64: from `first` on, the children in the order of their keys
    key_at: Array  # int64
    key_end: Array  # int64
    keys: Array  # uint8
    never_null: Array  # uint8
    required: Array  # int64: nodes without which a line is not a record
    group: Array  # int64: the first node of the elements that a node is in; -1: none
    weight: Array  # int64: words that each element takes, at the first node of the elements
    strict: Array  # uint8: where a value that does not fit makes the line odd
    lenient: Array  # uint8: structs in which a null of an unknown key is as good as none
    below_at: Array  # int64: of the record's children, where in `below` the nodes begin that they are made of
    below: Array  # int64
    lists_at: Array  # int64: the same, of those that are the first of elements
    lists: Array  # int64
    dense: int  # words that the lists of one record may take; a value with more does not fit. -1: there are no extras


class Slots(NamedTuple):
    """The places of values: each node has a slot per row, or per element of the list that it is in."""

    state_at: Array  # int64, first slot of a node in `state`
    word_at: Array  # int64, first slot of a node in `words`
    state: Array  # uint8
    words: Array  # uint64
    doubles: Array  # float64: the same memory
    used: Array  # int64, elements, at their first node
    room: Array  # int64


class Seen(NamedTuple):
    """The values met at each node: kinds as bits, and of numbers the fields of `catalog.types.Number`."""

    kinds: Array  # uint8
    integer: Array  # int64
    scale: Array  # int64
    significant: Array  # int64
    beyond: Array  # uint8: a number that is not a 64-bit integer


class Rows(NamedTuple):
    """The lines: where each begins and ends, whether it was read, and how many elements its lists and maps have."""

    at: Array  # int64
    end: Array  # int64
    read: Array  # uint8
    elements: Array  # int64


EXTRA_ROW, EXTRA_KEY, EXTRA_KEY_END, EXTRA_VALUE, EXTRA_VALUE_END, EXTRA_NODE, EXTRA_PLAIN, EXTRA_DENSE = range(8)
"""An extra's line, the places of its key and its value, the node that did not accept it (-1: none has the key), whether
the value is written as `json_text` does, and whether it is too dense, of any type.
"""


@_compiled
def scan(
    text: Array, end: int, p: Program, slots: Slots, seen: Seen, rows: Rows, fixes: Array, extras: Array
) -> tuple[int, int, int, int, int]:
    """Return `(rows, fixes, extras, node, pos)`: `fixes` are (node, slot) of texts for Python to write.

    `node`, if not -1, has no room for the line that begins at `pos`; all lines before it are read. It is 0 where
    `extras` has no room. `text[:end]` ends with a line break. Lines that are not read have `rows.read` 0; their slots
    hold anything, and their extras do not count.
    """
    nodes, places = np.zeros(DEPTH, np.int64), np.zeros(DEPTH, np.int64)
    nexts, starts = np.zeros(DEPTH, np.int64), np.zeros(DEPTH, np.int64)
    map_at, map_end = np.zeros(DEPTH, np.int64), np.zeros(DEPTH, np.int64)  # the last key of the map at each depth
    before = np.zeros(len(slots.used), np.int64)
    pos, row, fixed, beyond = 0, 0, 0, 0
    while pos < end:
        if text[pos] == 10:
            pos += 1
            continue
        rows.at[row] = pos
        depth, node, place, upcoming, weight = 0, 0, row, 0, 0
        # The member of the record that is being read: its node, key and value (-1: none is), and what was before it.
        top, key_at, key_end, value_at, fixed_before, weight_before = 0, 0, 0, -1, 0, 0
        last_at, last_end = 0, 0  # the last key of the record that has no place
        dense = False
        rows.elements[row] = 0
        ok = text[pos] == 123
        pos += 1
        closing = text[pos] == 125
        while True:
            if not ok:
                # Only the value can become an extra; else the line is odd.
                if p.dense < 0 or value_at < 0 or (top >= 0 and p.strict[top]):
                    break
                stop, plain = _value(text, value_at, 2)
                if stop < 0 or _doubtful(text, key_at, key_end):
                    break
                if last_end and not _ascends(text, last_at, last_end, key_at, key_end):  # it may be there twice
                    break
                if beyond == len(extras):
                    return row, fixed, beyond, 0, rows.at[row]
                ok = True
                if top >= 0:
                    for below in p.below[p.below_at[top] : p.below_at[top + 1]]:
                        first, last = row, row + 1
                        if p.group[below] >= 0:
                            first, last = before[p.group[below]], slots.used[p.group[below]]
                        for i in range(slots.state_at[below] + first, slots.state_at[below] + last):
                            slots.state[i] = 0
                    for element in p.lists[p.lists_at[top] : p.lists_at[top + 1]]:
                        slots.used[element] = before[element]
                    slots.state[slots.state_at[top] + row] = NONE  # so that it cannot come again
                extras[beyond, EXTRA_ROW], extras[beyond, EXTRA_NODE], extras[beyond, EXTRA_PLAIN] = row, top, plain
                extras[beyond, EXTRA_KEY], extras[beyond, EXTRA_KEY_END] = key_at, key_end
                extras[beyond, EXTRA_VALUE], extras[beyond, EXTRA_VALUE_END] = value_at, stop
                extras[beyond, EXTRA_DENSE] = dense
                dense = False
                beyond += 1
                last_at, last_end = key_at, key_end
                fixed, weight = fixed_before, weight_before
                depth, node, place = 0, 0, row
                pos, value_at = stop, -1
                c = text[pos]
                closing = c == 125
                if c == 44:
                    pos += 1
                elif not closing:
                    ok = False
                    continue
            if closing:
                if p.kind[node] == LIST or p.kind[node] == MAP:
                    slots.words[slots.word_at[node] + place] = np.uint64(slots.used[p.first[node]] - starts[depth])
                pos += 1
                if depth == 0:
                    break
                depth -= 1
                node, place, upcoming = nodes[depth], places[depth], nexts[depth]
            else:
                # The node of the next value.
                stop, escaped = pos, False
                if p.kind[node] != LIST:
                    if text[pos] != 34:
                        ok = False
                        continue
                    stop, escaped = _string(text, pos)
                    if stop < 0 or text[stop] != 58:
                        ok = False
                        continue
                if p.kind[node] == LIST or p.kind[node] == MAP:
                    element, child = p.first[node], p.taken[node]
                    at = slots.used[element]
                    weight += p.weight[element]
                    if p.dense >= 0 and weight > p.dense:
                        ok, dense = False, True
                        continue
                    if at >= slots.room[element]:
                        return row, fixed, beyond, element, rows.at[row]
                    if p.kind[node] == MAP:
                        last = map_end[depth]
                        if escaped or (last and not _ascends(text, map_at[depth], last, pos + 1, stop - 1)):
                            ok = False
                            continue
                        map_at[depth], map_end[depth] = pos + 1, stop - 1
                        slots.words[slots.word_at[element] + at] = _piece(pos + 1, stop - 1, False)
                        slots.state[slots.state_at[element] + at] = VALUE
                        pos = stop + 1
                    slots.used[element] = at + 1
                    rows.elements[row] += 1
                else:
                    child = _find(text, pos + 1, stop - 1, p, node, upcoming)
                    at = place
                    if child >= 0 and slots.state[slots.state_at[child] + at]:  # there twice
                        ok, value_at = False, -1 if depth == 0 else value_at
                        continue
                    if depth == 0:
                        top, key_at, key_end, value_at = child, pos + 1, stop - 1, stop + 1
                        fixed_before, weight_before = fixed, weight
                        if child >= 0:
                            for element in p.lists[p.lists_at[child] : p.lists_at[child + 1]]:
                                before[element] = slots.used[element]
                    if child < 0:
                        ok = False
                        if p.dense < 0 or not (depth == 0 or p.lenient[node]):
                            continue
                        if _value(text, stop + 1, 2)[0] != stop + 5 or text[stop + 1] != 110:  # null
                            continue
                        before_at, before_end = last_at, last_end
                        if depth > 0:
                            before_at, before_end = map_at[depth], map_end[depth]
                        if _doubtful(text, pos + 1, stop - 1) or (
                            before_end and not _ascends(text, before_at, before_end, pos + 1, stop - 1)
                        ):
                            value_at = -1
                            continue
                        if depth > 0:
                            map_at[depth], map_end[depth] = pos + 1, stop - 1
                        else:
                            last_at, last_end, value_at = pos + 1, stop - 1, -1
                        pos = stop + 5
                        c = text[pos]
                        closing = c == 125
                        ok = closing or c == 44
                        if c == 44:
                            pos += 1
                        continue
                    upcoming = child - p.first[node] + 1
                    pos = stop + 1
                # The value.
                kind, c = p.kind[child], text[pos]
                state, word = slots.state_at[child] + at, slots.word_at[child]
                if c == 34:
                    stop, escaped = _string(text, pos)
                    seen.kinds[child] |= SAW_TEXT
                    if stop < 0:
                        ok = False
                    elif kind == TEXT:
                        slots.words[word + at] = _piece(pos + 1, stop - 1, escaped)
                    elif kind == MIXED:
                        slots.words[word + at] = _piece(pos, stop, False)
                    elif kind == SEQUENCE:
                        ok = stop - pos == 42
                        for i in range(pos + 1, stop - 1):
                            ok &= 48 <= text[i] <= 57
                        slots.words[word + at] = _piece(pos + 1, stop - 1, False)
                    else:
                        ok = False
                    if not ok:
                        continue
                    slots.state[state] = VALUE
                    pos = stop
                elif c == 123 or c == 91:
                    seen.kinds[child] |= SAW_OBJECT if c == 123 else SAW_LIST
                    if kind == (STRUCT if c == 123 else LIST) or (kind == MAP and c == 123):
                        if depth + 1 == DEPTH:
                            ok = False
                            continue
                        slots.state[state] = VALUE
                        nodes[depth], places[depth], nexts[depth] = node, place, upcoming
                        depth += 1
                        node, place, upcoming = child, at, 0
                        map_end[depth] = 0
                        if kind != STRUCT:
                            starts[depth] = slots.used[p.first[node]]
                        pos += 1
                        closing = text[pos] == c + 2
                        continue
                    if kind == MIXED or (kind == PATHS and c == 123):
                        stop, plain = _skip(text, pos, kind == PATHS, depth + 2)
                        if stop < 0:
                            ok = False
                            continue
                        slots.words[word + at] = _piece(pos, stop, False)
                        if not plain and kind == MIXED:
                            fixes[fixed, 0], fixes[fixed, 1] = child, at
                            fixed += 1
                        pos = stop
                    elif kind == EMPTY and c == 123 and text[pos + 1] == 125:
                        pos += 2
                    else:
                        ok = False
                        continue
                    slots.state[state] = VALUE
                elif c == 110:
                    if text[pos + 1] != 117 or text[pos + 2] != 108 or text[pos + 3] != 108 or p.never_null[child]:
                        ok = False
                        continue
                    seen.kinds[child] |= SAW_NULL
                    slots.state[state] = NONE
                    pos += 4
                elif c == 116 or c == 102:
                    stop = _boolean(text, pos)
                    seen.kinds[child] |= SAW_BOOL
                    if stop < 0:
                        ok = False
                    elif kind == BOOL:
                        slots.words[word + at] = np.uint64(c == 116)
                    elif kind == MIXED:
                        slots.words[word + at] = _piece(pos, stop, False)
                    else:
                        ok = False
                    if not ok:
                        continue
                    slots.state[state] = VALUE
                    pos = stop
                else:
                    stop, negative, digits, significant, power, m0, m1, m2, plain = _number(text, pos)
                    if stop < 0:
                        ok = False
                        continue
                    seen.kinds[child] |= SAW_NUMBER
                    shift = power + digits - significant  # the exponent of the number without zeros at its end
                    whole, scale, needed, fits, integer = _measured(negative, digits, significant, power, m0, m1)
                    seen.integer[child] = max(seen.integer[child], whole)
                    seen.scale[child] = max(seen.scale[child], scale)
                    seen.significant[child] = max(seen.significant[child], needed)
                    if not fits:
                        seen.beyond[child] = 1
                    if kind in (INT, MOMENT):
                        ok = fits
                        if kind == MOMENT:
                            for i in range(pos + negative, stop):
                                ok &= 48 <= text[i] <= 57
                        slots.words[word + at] = np.uint64(integer)
                    elif kind == DOUBLE:
                        ok = digits <= _CHUNK_DIGITS and needed <= 15
                        if ok:
                            mantissa = m0 // _power(digits - significant)
                            if shift < -_EXACT_POWER or shift > _EXACT_POWER:
                                ok = digits == 0
                                shift = 0
                            # Both are held by a double exactly, so one operation rounds once: to the nearest.
                            value = np.float64(mantissa)
                            value = value / _double_power(-shift) if shift < 0 else value * _double_power(shift)
                            slots.doubles[word + at] = -value if negative else value
                    elif kind == DECIMAL:
                        ok = scale <= p.scale[child] and whole + p.scale[child] <= 38
                        ok = ok and power + p.scale[child] >= 0
                        if ok:
                            high, low = _decimal(negative, digits, power + p.scale[child], m0, m1, m2)
                            slots.words[word + 2 * at] = low
                            slots.words[word + 2 * at + 1] = high
                    elif kind in (MIXED, DIGITS):
                        slots.words[word + at] = _piece(pos, stop, False)
                        if not plain:
                            fixes[fixed, 0], fixes[fixed, 1] = child, at
                            fixed += 1
                    else:
                        ok = False
                    if not ok:
                        continue
                    slots.state[state] = VALUE
                    pos = stop
            # After a value: another one, or the end of what it is in.
            if depth == 0:
                value_at = -1
            c = text[pos]
            closing = False
            if c == 44:
                pos += 1
            elif c == (93 if p.kind[node] == LIST else 125):
                closing = True
            else:
                ok = False
        if ok:
            ok = text[pos] == 10
            for i in range(len(p.required)):
                ok &= slots.state[slots.state_at[p.required[i]] + row] == VALUE
        if not ok:
            # The open lists get their lengths, so that the elements that follow keep their places.
            while depth:
                if p.kind[node] == LIST or p.kind[node] == MAP:
                    slots.words[slots.word_at[node] + place] = np.uint64(slots.used[p.first[node]] - starts[depth])
                depth -= 1
                node, place = nodes[depth], places[depth]
            while text[pos] != 10:
                pos += 1
        rows.read[row] = ok
        rows.end[row] = pos
        pos += 1
        row += 1
    return row, fixed, beyond, -1, end


@_compiled
def pack(text: Array, written: Array, kinds: Array, slots: Slots, sizes: Array, order: Array, places: Array) -> Array:
    """Return the buffers that Arrow has for these nodes, one behind the other.

    `places` gets for each node how many values are missing, where its validity (-1: none, all are there), its values or
    offsets, and its characters begin, and where they end. Text behind the text's end is in `written`.
    """
    end = 0
    for node in order:
        kind, size = kinds[node], sizes[node]
        state, word = slots.state_at[node], slots.word_at[node]
        count, characters = 0, 0
        for i in range(size):
            count += slots.state[state + i] == VALUE
        if kind in (TEXT, SEQUENCE, MIXED, DIGITS, PATHS):
            for i in range(size):
                if slots.state[state + i] == VALUE:
                    characters += _length(slots.words[word + i])
        places[node, 0], places[node, 1] = size - count, -1
        if count < size:
            places[node, 1] = end
            end += _aligned((size + 7) // 8)
        places[node, 2] = end
        if kind == BOOL:
            end += _aligned((size + 7) // 8)
        elif kind in (INT, MOMENT, DOUBLE, DECIMAL):
            end += _aligned(16 * size if kind == DECIMAL else 8 * size)
        elif kind in (TEXT, SEQUENCE, MIXED, DIGITS, PATHS, LIST, MAP, EMPTY):
            end += _aligned(4 * size + 4)
        places[node, 3] = end
        end += _aligned(characters)
    out = np.zeros(end, np.uint8)
    offsets, values = out.view(np.int32), out.view(np.uint64)
    for node in order:
        kind, size = kinds[node], sizes[node]
        state = slots.state[slots.state_at[node] :][:size]
        words = slots.words[slots.word_at[node] :]
        mask, at, to = places[node, 1], places[node, 2], places[node, 3]
        if mask >= 0:
            for i in range(size):
                out[mask + (i >> 3)] |= np.uint8(np.uint8(state[i] == VALUE) << np.uint8(i & 7))
        if kind in (INT, MOMENT, DOUBLE):
            to_words = values[at // 8 :]
            for i in range(size):
                to_words[i] = words[i] if state[i] == VALUE else np.uint64(0)
        elif kind in (TEXT, SEQUENCE, MIXED, DIGITS, PATHS):
            to = join(text, written, words, state, out, to, offsets[at // 4 :])
        elif kind in (LIST, MAP):
            length = 0
            for i in range(size):
                if state[i] == VALUE:
                    length += np.int64(words[i])  # type: ignore[assignment]
                offsets[at // 4 + i + 1] = length
        elif kind == BOOL:
            for i in range(size):
                if state[i] == VALUE and words[i]:
                    out[at + (i >> 3)] |= np.uint8(1 << (i & 7))
        elif kind == DECIMAL:
            to_words = values[at // 8 :]
            for i in range(size):
                if state[i] == VALUE:
                    to_words[2 * i], to_words[2 * i + 1] = words[2 * i], words[2 * i + 1]
        places[node, 4] = to
    return out


@_compiled
def shapes(text: Array, written: Array, words: Array, secret: Any) -> Array:
    """Return a number for each piece of JSON text: the same for lists and maps with the same keys and kinds of values.

    Of numbers only counts what their type keeps. 0 for any other value. The numbers follow from `secret`, an odd number
    that nobody knows: nobody can write a list or a map that gets the number of another one.
    """
    numbers = np.zeros(len(words), np.uint64)
    for i in range(len(words)):
        pos, source = np.int64(words[i] & np.uint64(0xFFFFFFFF)), text
        if pos >= len(text):
            pos, source = pos - len(text), written
        if source[pos] == 123 or source[pos] == 91:
            numbers[i] = _shape(source, pos, pos + _length(words[i]), secret)
    return numbers


@_compiled
def _shape(text: Array, pos: Any, end: Any, secret: Any) -> Any:
    shape = secret
    while pos < end:
        c = text[pos]
        if c == 34:
            stop = pos + 1
            while text[stop] != 34:
                stop += 2 if text[stop] == 92 else 1
            stop += 1
            if stop < end and text[stop] == 58:
                for i in range(pos, stop):
                    shape = _hashed(shape, np.uint64(text[i]), secret)
            shape = _hashed(shape, np.uint64(34), secret)
            pos = stop
        elif c == 45 or 48 <= c <= 57:
            stop, negative, digits, significant, power, m0, m1, _, _ = _number(text, pos)
            if stop < 0:  # like no other
                shape, stop = _hashed(shape, np.uint64(pos), secret), pos + 1
            else:
                whole, scale, significant, fits, _ = _measured(negative, digits, significant, power, m0, m1)
                for figure in (whole, scale, significant, np.int64(fits)):
                    shape = _hashed(shape, np.uint64(figure), secret)
            shape = _hashed(shape, np.uint64(48), secret)
            pos = stop
        else:
            word = c == 110 or c == 116 or c == 102
            shape = _hashed(shape, np.uint64(116 if c == 102 else c), secret)
            pos += (5 if c == 102 else 4) if word else 1
    return shape | np.uint64(1)


@_compiled
def _hashed(shape: Any, value: Any, secret: Any) -> Any:
    shape = (shape ^ value) * secret
    return shape ^ (shape >> np.uint64(29))


@_compiled
def _measured(negative: bool, digits: int, significant: int, power: int, m0: Any, m1: Any) -> tuple[Any, ...]:
    """Return `(whole, scale, significant, fits, integer)`: a number as its type keeps it, and within 64 bits or not."""
    shift = power + digits - significant  # the exponent of the number without zeros at its end
    whole, scale = max(0, significant + shift), max(0, -shift)
    integer, fits = 0, False
    if scale == 0 and whole <= 19:
        fits, integer = _int64(negative, digits, power, m0, m1)
    return whole, scale, whole if fits else significant, fits, integer


@_compiled
def plain_types(text: Array, words: Array) -> Array:
    """Return for each text, an object, whether it is surely what `records.types_text` gives."""
    plain = np.zeros(len(words), np.uint8)
    keys = np.zeros((2, _FEW_TYPES), np.int64)
    for i in range(len(words)):
        pos = np.int64(words[i] & np.uint64(0xFFFFFFFF))
        plain[i] = _plain_types(text, pos, pos + _length(words[i]), keys[0], keys[1])
    return plain


@_compiled
def _plain_types(text: Array, pos: Any, end: Any, key_at: Array, key_end: Array) -> bool:
    keys = 0
    while True:
        pos += 1
        if text[pos] != 34 or keys == _FEW_TYPES:
            return False
        stop, escaped = _string(text, pos)
        if stop < 0 or escaped or text[stop] != 58 or text[stop + 1] != 34:
            return False
        for other in range(keys):
            at, i = key_at[other], stop - pos
            if key_end[other] - at == i:
                while i and text[at + i - 1] == text[pos + i - 1]:
                    i -= 1
                if i == 0:
                    return False
        key_at[keys], key_end[keys] = pos, stop
        keys += 1
        pos = stop + 2
        if text[pos] != 66 and (text[pos] not in (83, 78) or text[pos + 1] != 83):  # B, BS, SS, NS
            return False
        pos += 2 if text[pos + 1] == 83 else 1
        if text[pos] != 34:
            return False
        pos += 1
        if text[pos] != 44:
            return text[pos] == 125 and pos + 1 == end  # type: ignore[no-any-return]


@_compiled
def _aligned(size: int) -> int:
    return (size + 15) // 16 * 16


@_compiled
def join(text: Array, written: Array, words: Array, state: Array, out: Array, start: int, offsets: Array) -> int:
    """Write pieces of text one after the other from `start` on, without escapes. Return the place behind them."""
    to = start
    for i in range(len(state)):
        if state[i] == VALUE:
            pos, length = np.int64(words[i] & np.uint64(0xFFFFFFFF)), _length(words[i])
            if words[i] >> np.uint64(ESCAPED):
                end = pos + length
                while pos < end:
                    c = text[pos]
                    pos += 1
                    if c == 92:
                        c = text[pos]
                        pos += 1
                        if c == 110:
                            c = np.uint8(10)
                        elif c == 116:
                            c = np.uint8(9)
                        elif c == 114:
                            c = np.uint8(13)
                        elif c == 98:
                            c = np.uint8(8)
                        elif c == 102:
                            c = np.uint8(12)
                    out[to] = c
                    to += 1
            elif pos < len(text):
                for j in range(length):
                    out[to + j] = text[pos + j]
                to += length
            else:
                pos -= len(text)
                for j in range(length):
                    out[to + j] = written[pos + j]
                to += length
        offsets[i + 1] = to - start
    return to


@_compiled
def _piece(start: int, end: int, escaped: bool) -> Any:
    packed = np.uint64(start) | (np.uint64(end - start) << np.uint64(LENGTH_BITS))
    return packed | (np.uint64(escaped) << np.uint64(ESCAPED))


@_compiled
def _length(word: Any) -> int:
    return np.int64((word >> np.uint64(LENGTH_BITS)) & np.uint64(0x7FFFFFFF))  # type: ignore[return-value]


@_compiled
def _find(text: Array, start: int, stop: int, p: Program, node: int, upcoming: int) -> int:
    """Return the child with the key, or -1. Keys mostly come in the program's order."""
    first, count, length = p.first[node], p.count[node], stop - start
    for i in range(upcoming, min(upcoming + _NEAR, count)):
        child = first + i
        at = p.key_at[child]
        if p.key_end[child] - at == length:
            same = True
            for j in range(length):
                if p.keys[at + j] != text[start + j]:
                    same = False
                    break
            if same:
                return child  # type: ignore[no-any-return]
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        child = p.by_key[first + middle]
        at, end = p.key_at[child], p.key_end[child]
        order, i = 0, 0
        while order == 0 and i < length and at + i < end:
            # Not `int`: of a byte it is unsigned here.
            order = np.int64(text[start + i]) - np.int64(p.keys[at + i])  # type: ignore[assignment]
            i += 1
        if order == 0:
            order = length - (end - at)
        if order == 0:
            return child  # type: ignore[no-any-return]
        if order > 0:
            low = middle + 1
        else:
            high = middle
    return -1


@_compiled
def _string(text: Array, pos: int) -> tuple[int, bool]:
    """Return the place after the string at `pos`, or -1, and whether it has escapes; `u` makes the line odd."""
    escaped = False
    pos += 1
    while True:
        c = text[pos]
        if c == 34:
            return pos + 1, escaped
        if c < 32:
            return -1, False
        if c == 92:
            escaped = True
            pos += 1
            c = text[pos]
            # `\/` is odd too: JSON text is not written that way.
            if not (c == 34 or c == 92 or c == 110 or c == 116 or c == 114 or c == 98 or c == 102):
                return -1, False
        pos += 1


@_compiled
def _boolean(text: Array, pos: int) -> int:
    if text[pos] == 116:
        matches = text[pos + 1] == 114 and text[pos + 2] == 117 and text[pos + 3] == 101
        return pos + 4 if matches else -1
    matches = text[pos + 1] == 97 and text[pos + 2] == 108 and text[pos + 3] == 115 and text[pos + 4] == 101
    return pos + 5 if matches else -1


@_compiled
def _number(text: Array, pos: int) -> tuple[int, bool, int, int, int, Any, Any, Any, bool]:
    """Return `(end, negative, digits, significant, power, m0, m1, m2, plain)`: ±digits · 10^power, in three pieces.

    `significant`: digits without zeros at the end; `plain`: written as Python writes it. `end` -1: no number, or an odd
    one.
    """
    ten = np.uint64(10)
    m0, m1, m2 = np.uint64(0), np.uint64(0), np.uint64(0)
    digits, significant, fraction, power = 0, 0, 0, 0
    negative = text[pos] == 45
    if negative:
        pos += 1
    start, point = pos, -1
    while True:
        c = text[pos]
        if c == 46 and point < 0:
            point = pos
        elif 48 <= c <= 57:
            d = np.uint64(c - 48)
            if digits or d:
                if digits < 18:
                    m0 = m0 * ten + d
                elif digits < 36:
                    m1 = m1 * ten + d
                else:
                    m2 = m2 * ten + d
                digits += 1
                if d:
                    significant = digits
            if point >= 0:
                fraction += 1
        else:
            break
        pos += 1
    whole = (point if point >= 0 else pos) - start
    odd = whole == 0 or (whole > 1 and text[start] == 48) or (point >= 0 and fraction == 0)
    odd |= digits > 54 or (negative and digits == 0)
    plain = True
    if c == 101 or c == 69:
        plain = False
        pos += 1
        below = text[pos] == 45
        if below or text[pos] == 43:
            pos += 1
        first = pos
        while 48 <= text[pos] <= 57 and pos - first < 5:
            power = power * 10 + np.int64(text[pos] - 48)  # type: ignore[assignment]
            pos += 1
        odd |= pos == first or pos - first == 5
        if below:
            power = -power
    power -= fraction
    if point >= 0 and power + max(digits, 1) - 1 < -6:
        plain = False
    if digits == 0:
        power = 0
    return -1 if odd else pos, negative, digits, significant, power, m0, m1, m2, plain


@_compiled
def _int64(negative: bool, digits: int, power: int, m0: Any, m1: Any) -> tuple[bool, int]:
    """Return whether the number, an integer of at most 19 digits, is within 64 bits; and the integer."""
    value, rest = m0, digits
    if digits > 18:
        # Digits beyond the nineteenth are zeros behind the point.
        kept = min(digits, digits + power) - 18
        value = m0
        if kept > 0:
            value = m0 * np.uint64(10) + m1 // _power(min(digits, 36) - 18 - kept)
        rest = digits + power
        power = rest - 18 - max(kept, 0)
    if power > 0:
        value = value * _power(power)
    elif power < 0:
        value = value // _power(-power)
    if value > np.uint64(9223372036854775807):
        if negative and value == np.uint64(9223372036854775808):
            return True, -9223372036854775808
        return False, 0
    integer = np.int64(value)
    return True, -integer if negative else integer  # type: ignore[return-value]


@_compiled
def _power(exponent: int) -> Any:
    value = np.uint64(1)
    for _ in range(exponent):
        value *= np.uint64(10)
    return value


@_compiled
def _double_power(exponent: int) -> float:
    value = 1.0
    for _ in range(exponent):
        value *= 10.0
    return value


@_compiled
def _decimal(negative: bool, digits: int, zeros: int, m0: Any, m1: Any, m2: Any) -> tuple[Any, Any]:
    """Return `(high, low)`: the digits and `zeros` zeros behind them, as 128 bits."""
    high, low = np.uint64(0), m0
    if digits > 18:
        high, low = _add(*_times_ten(high, low, min(digits, 36) - 18), m1)
    if digits > 36:
        high, low = _add(*_times_ten(high, low, digits - 36), m2)
    high, low = _times_ten(high, low, zeros)
    if negative:
        low = ~low + np.uint64(1)
        high = ~high + np.uint64(low == 0)
    return high, low


@_compiled
def _times_ten(high: Any, low: Any, exponent: int) -> tuple[Any, Any]:
    half, mask = np.uint64(32), np.uint64(0xFFFFFFFF)
    while exponent > 0:
        by = _power(min(exponent, 9))
        exponent -= 9
        below = (low & mask) * by
        above = (low >> half) * by + (below >> half)
        low = (above << half) | (below & mask)
        high = high * by + (above >> half)
    return high, low


@_compiled
def _add(high: Any, low: Any, value: Any) -> tuple[Any, Any]:
    total = low + value
    return high + np.uint64(total < low), total


@_compiled
def _value(text: Array, pos: int, level: int) -> tuple[int, bool]:
    """Skip any value, as `_skip` does."""
    c = text[pos]
    if c == 34:
        stop, _ = _string(text, pos)
        return stop, True
    if c == 123 or c == 91:
        return _skip(text, pos, False, level)
    if c == 110:
        matches = text[pos + 1] == 117 and text[pos + 2] == 108 and text[pos + 3] == 108
        return pos + 4 if matches else -1, True
    if c == 116 or c == 102:
        return _boolean(text, pos), True
    stop, _, _, _, _, _, _, _, plain = _number(text, pos)
    return stop, plain


@_compiled
def _doubtful(text: Array, start: int, end: int) -> bool:
    """Return whether the key may stand for another name than its text: with an escape, or an underscore in front."""
    for i in range(start, end):
        if text[i] == 92:
            return True
    under = 0
    while start + under < end and text[start + under] == 95:
        under += 1
    return under > 2 or (under == 2 and end - start == 7 and text[start + 2] == 111)  # `__other`


@_compiled
def _skip(text: Array, pos: int, any_order: bool, level: int) -> tuple[int, bool]:
    """Return the place after the object or list at `pos`, or -1; and whether it is as `lake.arrow.json_text` writes it.

    Unless they may come in `any_order`, keys that do not ascend are odd: only ascending ones cannot be there twice.
    `level`: how deep it is.
    """
    plain = True
    closers, key_at, key_end = np.zeros(DEPTH, np.uint8), np.zeros(DEPTH, np.int64), np.zeros(DEPTH, np.int64)
    depth = 0
    closers[0] = text[pos] + 2
    pos += 1
    value_next = text[pos] != closers[0]
    while True:
        if value_next:
            if closers[depth] == 125:
                if text[pos] != 34:
                    return -1, False
                stop, escaped = _string(text, pos)
                if stop < 0 or escaped or text[stop] != 58:
                    return -1, False
                plain &= not _has_tag(text, pos, stop)
                ordered = any_order or not key_end[depth]
                if not ordered and not _ascends(text, key_at[depth], key_end[depth], pos + 1, stop - 1):
                    return -1, False
                key_at[depth], key_end[depth] = pos + 1, stop - 1
                pos = stop + 1
            c = text[pos]
            if c == 34:
                stop, escaped = _string(text, pos)
                if stop >= 0:
                    plain &= not _has_tag(text, pos, stop)
            elif c == 123 or c == 91:
                depth += 1
                if level + depth > DEPTH:
                    return -1, False
                closers[depth] = c + 2
                key_end[depth] = 0
                pos += 1
                value_next = text[pos] != closers[depth]
                continue
            elif c == 110:
                matches = text[pos + 1] == 117 and text[pos + 2] == 108 and text[pos + 3] == 108
                stop = pos + 4 if matches else -1
            elif c == 116 or c == 102:
                stop = _boolean(text, pos)
            else:
                stop, _, _, _, _, _, _, _, as_python = _number(text, pos)
                plain &= as_python
            if stop < 0:
                return -1, False
            pos = stop
        else:
            pos += 1
            if depth == 0:
                return pos, plain
            depth -= 1
        c = text[pos]
        if c == 44:
            pos += 1
            value_next = True
        elif c == closers[depth]:
            value_next = False
        else:
            return -1, False


@_compiled
def _has_tag(text: Array, start: int, stop: int) -> bool:
    """Return whether `</` is in it, which `json_text` writes in another way."""
    found = False
    for i in range(start, stop - 1):
        found |= text[i] == 60 and text[i + 1] == 47
    return found


@_compiled
def _ascends(text: Array, at: int, end: int, next_at: int, next_end: int) -> bool:
    for i in range(min(end - at, next_end - next_at)):
        if text[at + i] != text[next_at + i]:
            return text[at + i] < text[next_at + i]  # type: ignore[no-any-return]
    return end - at < next_end - next_at
