"""The names of columns and of struct fields: each follows from the attribute's own name, and from nothing else.

An attribute whose name is a name for a column keeps it: `[a-z_][a-z0-9_]*`, at most `NAME_LIMIT` characters, not
reserved, and not ending as suffixed names do. Every other gets its name folded, and 8 hexadecimal digits of a hash of
the original as a suffix: `userId` is `userid_6ccb2121`, always. So a name does not depend on which attribute came
first, nobody can take the name of another, and names that were kept never meet names that were made. Of two that were
made and meet by their hashes (somebody has to look for such a pair), the first has the column, and the other none.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from hashlib import sha256

from dynalake.lake.types import Field, List, Map, Struct, Type

NAME_LIMIT = 127
"""Characters. Redshift takes 127 bytes (https://docs.aws.amazon.com/redshift/latest/dg/r_names.html), Glue 255."""

_HASH_DIGITS = 8
# These characters are taken without quotes in Glue's type strings, and by Hive, Athena, Trino, Spark and Redshift. In a
# struct, Redshift and Spark take no name that begins with a digit.
_is_plain = re.compile(r"[a-z_][a-z0-9_]*").fullmatch
_is_suffixed = re.compile(rf".*_[0-9a-f]{{{_HASH_DIGITS}}}", re.DOTALL).fullmatch
_NOT_PLAIN = re.compile(r"[^a-z0-9_]")


def name_of(original: str, reserved: Container[str] = ()) -> str:
    """The name in the catalog for an attribute, or for the key of a struct's field."""
    if is_name(original) and original not in reserved:
        return original
    digest = sha256(original.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_DIGITS]
    return f"{folded(original)[: NAME_LIMIT - _HASH_DIGITS - 1]}_{digest}"


def is_name(text: str) -> bool:
    """Whether an attribute of this name keeps it, where it is not reserved."""
    return bool(_is_plain(text)) and len(text) <= NAME_LIMIT and not _is_suffixed(text)


def folded(original: str) -> str:
    """`original` as a catalog can take it: lower case, other characters `_`, no digit in front; cut at `NAME_LIMIT`."""
    # Cut first: a name may have 64 KB. Lower case may be longer, never shorter.
    text = _NOT_PLAIN.sub("_", original[:NAME_LIMIT].lower())
    if not text or text[0].isdigit():
        text = f"_{text}"
    return text[:NAME_LIMIT]


# -- the first edition's names, which depend on who came first -----------------------------------------------------

_LONGEST = 240  # 255 in Glue, and the parameter `mapping.{name}` has to fit there too


def fold(original: str) -> str:
    """`original` as the catalog can take it: lower case, other characters `_`, at most `_LONGEST` of them."""
    folded = _NOT_PLAIN.sub("_", original.lower())
    return folded[:_LONGEST] or "_"


def give_names(originals: Iterable[str], taken: Mapping[str, str], reserved: Iterable[str] = ()) -> dict[str, str]:
    """`{original: name}` for new originals beside those in `taken` (`{original: name}`), which never change.

    Where the folded name is taken or reserved, a hash of the original follows. An original that is its own folded
    name goes first, so that among new ones it is the other that gets the suffix.
    """
    used = {*taken.values(), *reserved}
    given: dict[str, str] = {}
    for original in sorted(set(originals) - set(taken), key=lambda o: (o != fold(o), o)):
        name, attempt = fold(original), 0
        while name in used:
            # Somebody may have taken every beginning of one hash, so each further attempt has a hash of its own.
            text, length = (f"{original}\0{attempt}", 64) if attempt else (original, 8)
            suffix = "_" + sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:length]
            name = fold(original)[: _LONGEST - len(suffix)] + suffix
            attempt += 1
        used.add(name)
        given[original] = name
    return given


def name_fields(a: Type) -> Type:
    """`a` with a name for every struct field; names once given are kept."""
    if isinstance(a, Struct):
        given = give_names((f.key for f in a.fields), {f.key: f.name for f in a.fields if f.name})
        return Struct(tuple(Field(f.key, f.name or given[f.key], name_fields(f.type)) for f in a.fields))
    if isinstance(a, List):
        return List(name_fields(a.element))
    if isinstance(a, Map):
        return Map(name_fields(a.value))
    return a
