"""Numbers as Java writes and reads them: `BigDecimal`, `Double.toString` and Trino's casts of text."""

from __future__ import annotations

import math
import re
from decimal import ROUND_DOWN, ROUND_HALF_UP, Context, Decimal, InvalidOperation
from typing import Any

import pyarrow as pa

# Wide enough that no operation here rounds before it is told to.
WIDE = Context(prec=2000, Emax=999999999, Emin=-999999999)
BIGINT_MAX = 2**63 - 1
BIGINT_MIN = -(2**63)

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\Z")
_INTEGER = re.compile(r"[+-]?\d+\Z")
_BITS: dict[Any, int] = {pa.int8(): 7, pa.int16(): 15, pa.int32(): 31, pa.int64(): 63}


def big_decimal(text: str) -> Decimal:
    """Java's `new BigDecimal(text)`; ValueError where it throws."""
    if not _NUMBER.match(text) or not text.isascii():
        raise ValueError(f"not a number: {text!r}")
    return WIDE.create_decimal(text)


def integer(text: str) -> int:
    """Java's `Long.parseLong(text)`; ValueError where it throws."""
    if not _INTEGER.match(text) or not text.isascii():
        raise ValueError(f"not an integer: {text!r}")
    return checked(int(text), pa.int64())


def checked(number: int, kind: pa.DataType) -> int:
    """The number if it fits the integer type; ValueError otherwise."""
    limit = 1 << _BITS[kind]
    if not -limit <= number < limit:
        raise ValueError(f"out of range for {kind}: {number}")
    return number


def truncated(number: Decimal) -> int:
    """The integer part."""
    return int(number.to_integral_value(ROUND_DOWN))


def rescaled(number: Decimal, kind: Any) -> Decimal:
    """The number at the type's scale, rounded half up; ValueError if its precision is exceeded."""
    try:
        scaled = number.quantize(Decimal(1).scaleb(-kind.scale), ROUND_HALF_UP, WIDE)
    except InvalidOperation:
        raise ValueError(f"out of range for {kind}: {number}") from None
    if len(scaled.as_tuple().digits) > kind.precision and scaled:
        raise ValueError(f"out of range for {kind}: {number}")
    return scaled


def double_text(value: float) -> str:
    """Java's `Double.toString`: the shortest digits, in scientific notation outside 1e-3 to 1e7."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if value == 0:
        return "-0.0" if math.copysign(1, value) < 0 else "0.0"
    sign, digits, exponent = _shortest(value)
    if -3 <= exponent < 7:
        if exponent < 0:
            return f"{sign}0.{'0' * (-exponent - 1)}{digits}"
        whole, fraction = digits[: exponent + 1].ljust(exponent + 1, "0"), digits[exponent + 1 :]
        return f"{sign}{whole}.{fraction or '0'}"
    return f"{sign}{digits[0]}.{digits[1:] or '0'}E{exponent}"


def double_varchar(value: float) -> str:
    """Trino's `CAST(double AS varchar)`: always scientific, without a trailing `.0`."""
    if not math.isfinite(value):
        return double_text(value)
    if value == 0:
        return "-0E0" if math.copysign(1, value) < 0 else "0E0"
    sign, digits, exponent = _shortest(value)
    return f"{sign}{digits[0]}{'.' if digits[1:] else ''}{digits[1:]}E{exponent}"


def _shortest(value: float) -> tuple[str, str, int]:
    negative, digits, exponent = Decimal(repr(value)).as_tuple()
    text = "".join(map(str, digits))
    significant = text.rstrip("0") or "0"
    return "-" if negative else "", significant, int(exponent) + len(text) - 1
