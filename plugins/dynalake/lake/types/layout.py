"""How a type is stored in files and catalogs: Glue and Trino type strings, what is written, what stays readable.

Type strings: https://docs.aws.amazon.com/athena/latest/ug/data-types.html
"""

from __future__ import annotations

from dynalake.lake.types.union import (
    Boolean,
    List,
    Map,
    Mixed,
    Number,
    Struct,
    Type,
)


def glue_type(of: Type) -> str:
    """Return `bigint`, `decimal(38,4)`, `struct<id:bigint,tags:array<string>>`…; `string` where nothing is known."""
    match of:
        case Boolean():
            return "boolean"
        case Number():
            return _number(of, "string")
        case Struct(fields) if fields:
            return f"struct<{','.join(f'{f.name}:{glue_type(f.type)}' for f in fields)}>"
        case Struct():
            return "map<string,string>"
        case Map(value):
            return f"map<string,{glue_type(value)}>"
        case List(element):
            return f"array<{glue_type(element)}>"
        case _:
            return "string"


def _number(of: Number, text: str) -> str:
    return f"decimal(38,{of.scale})" if of.kind == "decimal" else text if of.kind == "text" else of.kind


def signature(of: Type) -> str:
    """Return the type as readers see it: names and types, and what a `string` holds (text, digits, JSON text).

    Two types with one signature differ only in how they widen later.
    """
    match of:
        case Struct(fields):
            return f"{{{','.join(f'{f.key!r}={f.name}:{signature(f.type)}' for f in fields)}}}"
        case Map(value):
            return f"map:{signature(value)}"
        case List(element):
            return f"[{signature(element)}]"
        case Number():
            return _number(of, "digits")
        case _:
            return type(of).__name__.lower()


def extends(old: Type, new: Type) -> bool:
    """Return whether `new` is `old` with further fields in its structs: then old files give their values under it.

    Iceberg finds columns and fields by their ids; a column that a file lacks reads as null. Digits are their own JSON
    text, so that numbers kept as text may become `Mixed` without a change of files.
    """
    match old, new:
        case Struct(fields), Struct() if fields and new.fields:
            by_key = new.by_key
            return all(
                f.key in by_key and by_key[f.key].name == f.name and extends(f.type, by_key[f.key].type) for f in fields
            )
        case (List(a), List(b)) | (Map(a), Map(b)):
            return extends(a, b)
        case Number(), Mixed():
            return old.kind == "text"
        case _:
            return signature(old) == signature(new)
