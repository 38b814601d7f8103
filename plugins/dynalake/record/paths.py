"""The places in an item of values whose DynamoDB type JSON cannot show: the paths of `__types`.

A path is a JSON Pointer over the item's own names. https://www.rfc-editor.org/rfc/rfc6901
"""

from __future__ import annotations

from json.encoder import encode_basestring as encode_text
from typing import TypeAlias

Member: TypeAlias = "tuple[str | int, str | Members]"
Members: TypeAlias = "tuple[Member, ...]"
"""The members of a map or list whose type JSON cannot show (name or place, and type), or that hold such values.

The encoder gathers these. Paths are made at the end, so that an item's other values do not take longer.
"""

PATHS_LIMIT = 1 << 20
"""Characters of the paths of one item. Only thousands of sets below names of thousands of characters need more."""

# Bounds the memory for maps whose names are data: about a megabyte.
_KEPT = 4096
_LONGEST_KEPT = 255


def path_step(name: str) -> str:
    """Return one step of a path: `a/b` gives `/a~1b`."""
    return "/" + name.replace("~", "~0").replace("/", "~1")


def paths_text(types: Members) -> str:
    """Return the JSON text of an object from paths to types, in the order of `types`.

    The text ends at `PATHS_LIMIT`: the path of every value repeats the names above it, so without a limit an item of
    400 KB could make gigabytes of text.
    """
    return _texts[types]


class _Texts(dict[Members, str]):
    """Texts of paths, some thousands of them: most items of a table have such values at the same places."""

    def __missing__(self, types: Members) -> str:
        pieces: list[str] = []
        _append_paths(types, "", pieces, PATHS_LIMIT)
        text = f"{{{','.join(pieces)}}}"
        if len(text) <= _LONGEST_KEPT:
            if len(self) >= _KEPT:
                self.clear()
            self[types] = text
        return text


def _append_paths(types: Members, path: str, pieces: list[str], room: int) -> int:
    """Return how many of `room` characters are left; negative where a path, and those after it, were left out."""
    for step, inner in types:
        member_path = path + _steps[step] if isinstance(step, str) else f"{path}/{step}"
        if isinstance(inner, str):
            room -= len(member_path)
            if room >= 0:
                pieces.append(f'"{member_path}":"{inner}"')
        else:
            room = _append_paths(inner, member_path, pieces, room)
        if room < 0:
            break
    return room


class _Steps(dict[str, str]):
    """`path_step` within a JSON string, kept as well: places in lists differ, but names come again."""

    def __missing__(self, name: str) -> str:
        text = encode_text(path_step(name))[1:-1]
        if len(name) <= _LONGEST_KEPT:
            if len(self) >= _KEPT:
                self.clear()
            self[name] = text
        return text


_texts = _Texts()
_steps = _Steps()
