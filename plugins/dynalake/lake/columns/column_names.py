"""The names of columns and of struct fields: each follows from the attribute's own name alone.

An attribute keeps its name if a column can have it: `[a-z_][a-z0-9_]*`, at most `NAME_LIMIT` characters, not reserved,
and not ending as suffixed names do. Every other name is folded, and gets 8 hexadecimal digits of a hash of the original
as a suffix: `userId` is `userid_6ccb2121`, always. So a name does not depend on which attribute came first, no
attribute can take the name of another, and kept names never equal made ones. Of two made names with the same hash
(somebody has to look for such a pair), the first has the column, and the other none.
"""

from __future__ import annotations

import re
from collections.abc import Container
from hashlib import sha256

NAME_LIMIT = 127
"""Characters. Redshift takes 127 bytes (https://docs.aws.amazon.com/redshift/latest/dg/r_names.html), Glue 255."""

_HASH_DIGITS = 8
# Glue's type strings, Hive, Athena, Trino, Spark and Redshift take these characters without quotes. In a struct,
# Redshift and Spark take no name that begins with a digit.
_is_plain = re.compile(r"[a-z_][a-z0-9_]*").fullmatch
_is_suffixed = re.compile(rf".*_[0-9a-f]{{{_HASH_DIGITS}}}", re.DOTALL).fullmatch
_NOT_PLAIN = re.compile(r"[^a-z0-9_]")


def name_of(original: str, reserved: Container[str] = ()) -> str:
    """Return the catalog's name for an attribute, or for the key of a struct's field."""
    if is_name(original) and original not in reserved:
        return original
    digest = sha256(original.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_DIGITS]
    return f"{folded(original)[: NAME_LIMIT - _HASH_DIGITS - 1]}_{digest}"


def is_name(text: str) -> bool:
    """Return whether an attribute of this name keeps it, where it is not reserved."""
    return bool(_is_plain(text)) and len(text) <= NAME_LIMIT and not _is_suffixed(text)


def folded(original: str) -> str:
    """Return a name that a catalog takes: lower case, other characters `_`, no digit in front; cut at `NAME_LIMIT`."""
    # Cut first: a name may have 64 KB. Lower case may be longer, never shorter.
    text = _NOT_PLAIN.sub("_", original[:NAME_LIMIT].lower())
    if not text or text[0].isdigit():
        text = f"_{text}"
    return text[:NAME_LIMIT]
