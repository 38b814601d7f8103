"""JSON text as Athena's OpenX SerDe reads and writes it: numbers stay text, lenient where it is.

Follows Trino's `io.trino.hive.formats.line.openxjson` (`JsonReader`, `JsonWriter`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from json.encoder import encode_basestring
from typing import Any, TypeAlias

from infra.local.corrections.athena.numerals import BIGINT_MAX, BIGINT_MIN, big_decimal

# A parsed value: None, str (quoted), Unquoted, bool, list, dict.
Value: TypeAlias = Any
Pairs: TypeAlias = Callable[[list[tuple[str, Value]]], dict[str, Value]]


class Unquoted(str):
    """A literal that stood without quotes: a number, or any other bare word."""

    __slots__ = ()


class InvalidJson(ValueError):
    """Text that even the lenient reader refuses."""


_CANONICAL_INTEGER = re.compile(r"(0|-?[1-9]\d{0,17})\Z")
_OCTAL = re.compile(r"0[0-8]")
_LITERAL = re.compile(r"[^ \r\n\t\f{}\[\]/\\:,=;#]*")
_SKIPPED = re.compile(r"(?:[\t \n\r]+|#[^\r\n]*[\r\n]?|//[^\r\n]*[\r\n]?|/\*.*?\*/)*", re.DOTALL)
_ESCAPES = {"t": "\t", "b": "\b", "n": "\n", "r": "\r", "f": "\f", "a": "\x07", "v": "\t"}


def decoder(pairs: Pairs) -> Callable[[str], Value]:
    """A function that parses one line; `pairs` makes an object of its members."""
    strict = json.JSONDecoder(
        object_pairs_hook=pairs,
        parse_int=Unquoted,
        parse_float=Unquoted,
        parse_constant=Unquoted,
        strict=False,
    )

    def decode(line: str) -> Value:
        try:
            return strict.decode(line)
        except json.JSONDecodeError:
            return _Reader(line, pairs).value()

    return decode


def text(value: Value) -> str | None:
    """What a `string` column shows of a value: plain text, canonical numbers, or JSON text."""
    if value is None:
        return None
    if isinstance(value, Unquoted):
        return canonical(value)
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    out: list[str] = []
    _write(value, out)
    return "".join(out)


def canonical(literal: str) -> str:
    """An unquoted literal as the SerDe shows it: plain integers, other numbers as `BigDecimal` does."""
    if _CANONICAL_INTEGER.match(literal):
        return literal
    if literal.lower() in ("true", "false"):
        return literal.lower()
    try:
        return str(parse_long(literal))
    except ValueError:
        pass
    try:
        return str(big_decimal(literal))
    except ValueError:
        return str(literal)


def parse_long(literal: str) -> int:
    """A decimal, hexadecimal or octal integer of 64 bits; ValueError otherwise."""
    if literal[:2] in ("0x", "0X"):
        number = int(literal[2:], 16) if re.fullmatch(r"[0-9a-fA-F]+", literal[2:]) else None
    elif _OCTAL.match(literal):
        number = int(literal[1:], 8) if re.fullmatch(r"[0-7]+", literal[1:]) else None
    else:
        number = int(literal) if re.fullmatch(r"[+-]?[0-9]+", literal) else None
    if number is None or not BIGINT_MIN <= number <= BIGINT_MAX:
        raise ValueError(f"not a bigint: {literal!r}")
    return number


def _write(value: Value, out: list[str]) -> None:
    kind = type(value)
    if kind is str:
        out.append(_quoted(value))
    elif kind is Unquoted:
        rendered = canonical(value)
        out.append(rendered if _is_json_literal(rendered) else _quoted(rendered))
    elif value is None:
        out.append("null")
    elif kind is bool:
        out.append("true" if value else "false")
    elif kind is dict:
        separator = "{"
        for key, member in value.items():
            out.append(f"{separator}{_quoted(key)}:")
            _write(member, out)
            separator = ","
        out.append("}" if value else "{}")
    else:
        separator = "["
        for element in value:
            out.append(separator)
            _write(element, out)
            separator = ","
        out.append("]" if value else "[]")


def _is_json_literal(rendered: str) -> bool:
    return rendered[:1] in "-0123456789" or rendered in ("true", "false")


def _quoted(value: str) -> str:
    quoted: str = encode_basestring(value)
    return quoted.replace("</", "<\\/") if "</" in quoted else quoted


class _Reader:
    """The SerDe's own reader, for lines that are no strict JSON; ends at the first complete value."""

    def __init__(self, line: str, pairs: Pairs) -> None:
        self.line = line
        self.pairs = pairs
        self.at = 0

    def token(self) -> str:
        skipped = _SKIPPED.match(self.line, self.at)
        self.at = skipped.end() if skipped else self.at
        if self.line.startswith("/*", self.at):
            raise InvalidJson("Unterminated c-style comment")
        character = self.line[self.at : self.at + 1]
        self.at += 1
        return character

    def value(self) -> Value:
        character = self.token()
        if not character:
            raise InvalidJson("End of input")
        if character == "{":
            return self.object()
        if character == "[":
            return self.array()
        if character in "'\"":
            return self.string(character)
        self.at -= 1
        literal = _LITERAL.match(self.line, self.at)
        word = literal.group() if literal else ""
        if not word:
            raise InvalidJson("Expected literal value")
        self.at += len(word)
        return None if word.lower() == "null" else Unquoted(word)

    def object(self) -> dict[str, Value]:
        members: list[tuple[str, Value]] = []
        if self.token() == "}":
            return self.pairs(members)
        self.at -= 1
        while True:
            name = self.value()
            if not isinstance(name, str):
                raise InvalidJson(f"Names must be strings, but found {name}")
            separator = self.token()
            if separator not in (":", "="):
                raise InvalidJson(f"Expected ':' after field {name}")
            if separator == "=" and self.line.startswith(">", self.at):
                self.at += 1
            members.append((str(name), self.value()))
            end = self.token()
            if end == "}":
                return self.pairs(members)
            if end not in (",", ";"):
                raise InvalidJson("Unterminated object")

    def array(self) -> list[Value]:
        elements: list[Value] = []
        trailing = False
        while True:
            character = self.token()
            if not character:
                raise InvalidJson("Unterminated array")
            if character == "]":
                return [*elements, None] if trailing else elements
            if character in ",;":
                elements.append(None)
                trailing = True
                continue
            self.at -= 1
            elements.append(self.value())
            character = self.token()
            if character == "]":
                return elements
            if character not in (",", ";"):
                raise InvalidJson("Unterminated array")
            trailing = True

    def string(self, quote: str) -> str:
        out: list[str] = []
        while self.at < len(self.line):
            character = self.line[self.at]
            self.at += 1
            if character == quote:
                return "".join(out)
            out.append(self.escaped() if character == "\\" else character)
        raise InvalidJson("Unterminated string")

    def escaped(self) -> str:
        character = self.line[self.at : self.at + 1]
        self.at += 1
        if not character:
            raise InvalidJson("Unterminated escape sequence")
        if character != "u":
            return _ESCAPES.get(character, character)
        digits = self.line[self.at : self.at + 4]
        if not re.fullmatch(r"[0-9a-fA-F]{4}", digits):
            raise InvalidJson(f"Invalid escape sequence: {digits}")
        self.at += 4
        return chr(int(digits, 16))
