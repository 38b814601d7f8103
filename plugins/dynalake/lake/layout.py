"""How a type lies in files and catalogs: Glue and Trino type strings, what is written, what stays readable.

Type strings: https://docs.aws.amazon.com/athena/latest/ug/data-types.html
"""

from __future__ import annotations

from dynalake.lake.types import (
    Boolean,
    Field,
    List,
    Map,
    Mixed,
    Null,
    Number,
    Struct,
    Text,
    Type,
)


def glue_type(of: Type) -> str:
    """`bigint`, `decimal(38,4)`, `struct<id:bigint,tags:array<string>>`…; `string` where nothing is known yet."""
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


def trino_type(of: Type) -> str:
    """The same type as Athena's SQL writes it: `row("id" bigint, "tags" array(varchar))`."""
    match of:
        case Boolean():
            return "boolean"
        case Number():
            return _number(of, "varchar")
        case Struct(fields) if fields:
            members = (f'"{f.name}" {trino_type(f.type)}' for f in fields)
            return f"row({', '.join(members)})"
        case Struct():
            return "map(varchar, varchar)"
        case Map(value):
            return f"map(varchar, {trino_type(value)})"
        case List(element):
            return f"array({trino_type(element)})"
        case _:
            return "varchar"


def _number(of: Number, text: str) -> str:
    return f"decimal(38,{of.scale})" if of.kind == "decimal" else text if of.kind == "text" else of.kind


def written(of: Type) -> Type:
    """What a file holds of `of`: a struct's fields that were never more than null are left out.

    A column that was never more than null is not written at all, so that it may become anything later.
    """
    match of:
        case Struct(fields):
            kept = tuple(Field(f.key, f.name, written(f.type)) for f in fields if not isinstance(f.type, Null))
            return Struct(kept or fields)  # a struct without fields cannot be written: they stay, as strings
        case Map(value):
            return Map(written(value))
        case List(element):
            return List(written(element))
        case _:
            return of


def narrow(table: Type, partition: Type) -> Type:
    """The table's type for a column, reduced to the struct fields that the partition has values for.

    So a partition's files do not change when some other partition brings a field that this one does not have.
    """
    if isinstance(partition, Null):
        return table
    if isinstance(table, Struct) and isinstance(partition, Struct):
        seen = {f.key: f.type for f in partition.fields if not isinstance(f.type, Null)}
        fields = tuple(Field(f.key, f.name, narrow(f.type, seen[f.key])) for f in table.fields if f.key in seen)
        return Struct(fields or table.fields)
    if isinstance(table, List) and isinstance(partition, List):
        return List(narrow(table.element, partition.element))
    return table


def signature(of: Type) -> str:
    """The type as readers see it: names and types, and what a `string` holds (text, digits, JSON text).

    Two types with one signature differ only in what decides how they widen later.
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
    """Whether `new` is `old` with further fields in its structs: files written under `old` give their values under it.

    Iceberg finds columns and fields by their ids; what a file does not have reads as null. Digits are their own JSON
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


def files_still_readable(old: Type, new: Type) -> bool:
    """Whether a file written for a column of type `old` gives its values when the catalog says `new`.

    Athena finds Parquet columns, and the fields of their structs, by name; what is missing reads as null. It does not
    read one physical type as another: an INT64 column under `double` or `decimal`, a decimal under another scale, a
    struct under `map`. Text keeps its type but not its meaning when it becomes JSON text.
    https://docs.aws.amazon.com/athena/latest/ug/handling-schema-updates-chapter.html
    """
    return isinstance(old, Null) or _readable(old, new)


def _readable(old: Type, new: Type) -> bool:
    match old, new:
        case Null(), _:  # an element that was never more than null is written as a string
            return glue_type(new) == "string"
        case Number(), Number():
            return glue_type(old) == glue_type(new)
        case Number(), Mixed():
            return old.kind == "text"
        case List(a), List(b):
            return _readable(a, b)
        case Map(a), Map(b):
            return _readable(a, b)
        case Struct(()), Struct(()):
            return True
        case Struct(()), Map(b):
            return glue_type(b) == "string"
        case Struct(fields), Struct() if fields and new.fields:
            only_nulls = all(isinstance(f.type, Null) for f in fields)
            for f in fields:
                theirs = new.by_key.get(f.key)
                if isinstance(f.type, Null) and not only_nulls:
                    continue
                if theirs is None or theirs.name != f.name or not _readable(f.type, theirs.type):
                    return False
            return True
        case ((Text() | Boolean() | Mixed()), _):
            return type(old) is type(new)
        case _:
            return False
