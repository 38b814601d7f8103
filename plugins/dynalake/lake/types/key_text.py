"""An item's key as one text: the column `__key` of tables whose key has a number.

Equal keys have equal texts, and different keys different ones, in any spelling: `1`, `1.0` and `10E-1` are one number.
The texts sort as DynamoDB sorts the keys (a text partition key except for characters before `!`). So files in the order
of `__key` are key ranges in the typed columns as well, and a look-up by these prunes.

The text of a key is its parts, the partition key's first, with `!` between. A part that is text, or binary as base64,
stands as it is; with a part after it, `~0` stands for its `~` and `~1` for its `!`. A number is

    0                                  zero
    1 EEE digits                       above zero
    - eee stigid ~                     below zero

`digits`: its significant digits, without zeros in front and at the end. `EEE`: three digits, 500 more than the exponent
of its first digit (500 for 1 to 9, 501 for 10 to 99, 499 for 0.1). `eee` and `stigid`: the same with each digit d as
9 - d, so that a number further below zero comes first. 1558778400.123 is `15091558778400123`, and -1.5 is `-49984~`.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute

from dynalake.errors import RecordError

_pa: Any = pa  # its stubs take types only as literals; here they are data
pc: Any = pyarrow.compute
_MIDDLE = 500
"""Middle of the exponents: DynamoDB's go from -130 to 125, so three digits are enough."""

_BETWEEN = "!"
_ESCAPES = (("~", "~0"), (_BETWEEN, "~1"))
_NINES = str.maketrans("0123456789", "9876543210")


def key_text(values: Sequence[str | int | Decimal]) -> str:
    """Return the text of a key from its parts' values, as a change record has them: the partition key's first.

    Raises `RecordError` where a number is beyond DynamoDB's range.
    """
    parts = [value if isinstance(value, str) else number_key(value) for value in values]
    if len(parts) == 1:
        return parts[0]
    first, last = parts
    if isinstance(values[0], str):
        for character, escape in _ESCAPES:
            first = first.replace(character, escape)
    return f"{first}{_BETWEEN}{last}"


def number_key(value: int | Decimal) -> str:
    """Return the text of a number, by its value. Raise `RecordError` where it is beyond DynamoDB's range."""
    sign, figures, exponent = Decimal(value).as_tuple()
    text = "".join(map(str, figures)).lstrip("0")
    digits = text.rstrip("0")
    power = exponent + len(text) - 1 + _MIDDLE if isinstance(exponent, int) else -1
    if not digits and isinstance(exponent, int):
        return "0"
    if not 0 <= power < 2 * _MIDDLE:
        raise RecordError(f"The number of a key is {value}", allowed="1E-130 to 9.99E+125, as in DynamoDB")
    ordered = f"{power:03d}{digits}"
    return f"-{ordered.translate(_NINES)}~" if sign else f"1{ordered}"


def key_texts(parts: Sequence[Any]) -> Any:
    """Return `key_text` for rows: Arrow arrays, chunked or not, of the key's columns. Null where a part is null.

    A part may be of any type that `arrow_type` gives for a key: strings of text keys, int64, doubles, decimals. Numbers
    that are text (`Number.kind` is "text", or JSON text) have to be given as `number_keys` of them.
    """
    texts = [part if pa.types.is_string(part.type) else number_keys(part) for part in parts]
    if len(texts) == 1:
        return texts[0]
    first, last = texts
    if pa.types.is_string(parts[0].type):
        for character, escape in _ESCAPES:
            first = pc.replace_substring(first, character, escape)
    return pc.binary_join_element_wise(first, last, _BETWEEN)


def number_keys(numbers: Any) -> Any:
    """Return `number_key` for an Arrow array of int64, doubles (as `repr` has them), decimals, or numbers as text."""
    if isinstance(numbers, pa.ChunkedArray):
        return _pa.chunked_array([number_keys(chunk) for chunk in numbers.chunks], pa.string())
    if pa.types.is_int64(numbers.type) and not pc.any(pc.less(numbers, 0)).as_py():
        return _of_integers(numbers)
    to_text = repr if pa.types.is_floating(numbers.type) else str
    return pa.array([None if n is None else number_key(Decimal(to_text(n))) for n in numbers.to_pylist()], pa.string())


def _of_integers(numbers: Any) -> Any:
    """Return the texts without a loop in Python: keys of millions of rows are mostly integers."""
    text = pc.cast(numbers, pa.string())
    power = pc.cast(pc.add(pc.utf8_length(text), _MIDDLE - 1), pa.string())
    ordered = pc.binary_join_element_wise("1", power, pc.utf8_rtrim(text, "0"), "")
    return pc.if_else(pc.equal(numbers, 0), "0", ordered)
