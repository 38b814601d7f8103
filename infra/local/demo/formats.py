"""Files of items: a JSON array, JSON Lines, and DynamoDB JSON, each also as gz.

DynamoDB JSON is what an export to S3 has (`{"Item": {"id": {"S": "a"}}}` in each line), and what `aws dynamodb scan`
answers (`{"Items": [{"id": {"S": "a"}}]}`). Other files hold plain JSON: numbers keep each digit, and there are no sets
and no binary.
"""

from __future__ import annotations

import gzip
import json
import zlib
from base64 import b64decode
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from infra.local.demo.receipts import Item, Value

FORMATS = "a JSON array of objects, an object in each line (JSON Lines), or DynamoDB JSON; each may be gz"

# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html#limits-data-types
_DIGITS = 38


class ItemsError(ValueError):
    """The demo cannot load the file or use the key."""


def read_items(path: Path) -> Iterator[tuple[str, Item]]:
    """Yield the items of a file, digit for digit, each with its place in the file. Raises `ItemsError`."""
    elements, typed = _elements(path, _text(path))
    convert = typed_value if typed else plain_value
    for place, element in elements.items():
        if not isinstance(element, dict):
            raise ItemsError(f"{path}: {place} is {_kind(element)}. Needed: an object.")
        item = element["Item"] if typed and element.keys() == {"Item"} else element
        if not isinstance(item, dict):
            raise ItemsError(f"{path}: {place}: Item is {_kind(item)}. Needed: an object.")
        yield place, {name: convert(value, f"{path}: {place}: {name}") for name, value in item.items()}


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
        return (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content).decode()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ItemsError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error


def _elements(path: Path, text: str) -> tuple[dict[str, Any], bool]:
    """Return the elements of a file by their places, and whether they are DynamoDB JSON."""
    # Not `splitlines`: JSON texts may hold the other line ends of Unicode.
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if len(lines) > 1 and _is_object(lines[0][1]):
        elements = {f"line {number}": _decode(line, f"{path}: line {number}") for number, line in lines}
    else:
        whole = _decode(text, str(path))
        if isinstance(whole, dict) and isinstance(whole.get("Items"), list):
            return {f"Items[{index}]": item for index, item in enumerate(whole["Items"])}, True
        if isinstance(whole, dict):
            whole = [whole]
        if not isinstance(whole, list) or not whole:
            raise ItemsError(f"{path} holds {_kind(whole)}. Needed: {FORMATS}.")
        elements = {f"element {index}": element for index, element in enumerate(whole)}
    return elements, all(isinstance(element, dict) and element.keys() == {"Item"} for element in elements.values())


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _decode(text: str, where: str) -> Any:
    try:
        return json.loads(text, parse_float=Decimal, parse_int=Decimal, parse_constant=_no_constant)
    except ValueError as error:
        raise ItemsError(f"{where} is not valid JSON: {error}") from error


def plain_value(value: object, where: str) -> Value:
    """Return a plain JSON value as an attribute value. Raises `ItemsError`."""
    match value:
        case None:
            return {"NULL": True}
        case bool():
            return {"BOOL": value}
        case str():
            return {"S": value}
        case Decimal():
            return {"N": _number(value, where)}
        case list():
            return {"L": [plain_value(element, f"{where}[{n}]") for n, element in enumerate(value)]}
        case Mapping():
            return {"M": {name: plain_value(member, f"{where}.{name}") for name, member in value.items()}}
    raise ItemsError(f"{where} is {value!r}. Needed: a JSON value.")


def typed_value(value: object, where: str) -> Value:
    """Return a value of DynamoDB JSON as an attribute value, with binary as bytes. Raises `ItemsError`."""
    ((kind, content),) = value.items() if isinstance(value, dict) and len(value) == 1 else (("", None),)
    match kind, content:
        case ("S", str()) | ("BOOL", bool()) | ("NULL", True):
            return {kind: content}
        case ("N", str()):
            return {"N": _number(_decimal(content, where), where)}
        case ("B", str()):
            return {"B": _binary(content, where)}
        case ("L", list()):
            return {"L": [typed_value(element, f"{where}[{n}]") for n, element in enumerate(content)]}
        case ("M", dict()):
            return {"M": {name: typed_value(member, f"{where}.{name}") for name, member in content.items()}}
        case (("SS" | "NS" | "BS"), [_, *_]):
            of = kind[0]
            return {kind: [typed_value({of: member}, f"{where}[{n}]")[of] for n, member in enumerate(content)]}
    raise ItemsError(f'{where} is {value!r}. Needed: an attribute value of DynamoDB JSON, such as {{"S": "text"}}.')


def _decimal(digits: str, where: str) -> Decimal:
    try:
        return Decimal(digits)
    except InvalidOperation:
        raise ItemsError(f"{where} is {digits!r}. Needed: a number.") from None


def _number(value: Decimal, where: str) -> str:
    digits = "".join(map(str, value.as_tuple().digits)).strip("0")
    if not value.is_finite() or len(digits) > _DIGITS or (value and not -130 <= value.adjusted() <= 125):
        raise ItemsError(f"{where} is {value}. Needed: at most {_DIGITS} digits, between 1E-130 and 1E+126.")
    return str(value) if value else "0"


def _binary(text: str, where: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError:
        raise ItemsError(f"{where} is {text!r}. Needed: base64.") from None


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "an empty array", str: "a string", bool: "a boolean", type(None): "null"}
    return kinds.get(type(value), "a number")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number.")
