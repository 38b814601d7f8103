"""The lines of an incremental export as change records: `docs/adr/0005-incremental-import.md`.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/S3DataExport.Output.html#incremental-export-output
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from dynalake.backfill.export.manifest import DataFile
from dynalake.backfill.export.numbers import Numbers, Wanted, item_key, last_before
from dynalake.errors import RecordError
from dynalake.record.change import encode_change, sequence_after
from dynalake.record.key import ItemKey

Line = Mapping[str, Any]


def written_at(file: DataFile, number: int, line: Line) -> int:
    """Return when a line's change was written, in microseconds. Raise `RecordError` where it is not such a line."""
    try:
        written = int(line["Metadata"]["WriteTimestampMicros"]["N"])
        if isinstance(line["Keys"], Mapping):
            return written
    except (KeyError, TypeError, ValueError):
        pass
    raise RecordError(
        f"Line {number} of {file.key} is not a change; its fields: {', '.join(sorted(line)) or 'none'}",
        allowed='{"Metadata": {"WriteTimestampMicros": {"N": …}}, "Keys": {…}, …}, as an incremental export has it',
        key=file.key,
    )


def wanted_numbers(key: ItemKey, lines: Iterable[tuple[DataFile, int, Line]]) -> Wanted:
    """Return the items and times to look up to place the lines."""
    wanted: Wanted = {}
    for file, number, line in lines:
        written = written_at(file, number, line)
        wanted.setdefault(item_key(key, line["Keys"]), {})[file.window_end] = last_before(written, file.window_end)
    return wanted


def exported_keys(lines: Iterable[tuple[DataFile, int, Line]]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield, for each line, the end of its window and the item's key."""
    for file, number, line in lines:
        written_at(file, number, line)
        yield file.window_end, line["Keys"]


def change_encoder(key: ItemKey, numbers: Numbers) -> Callable[[tuple[DataFile, int, Line]], bytes]:
    """Return a function that encodes a line by its effect: `INSERT`, `MODIFY`, or `REMOVE` with the last image."""

    def encode(read: tuple[DataFile, int, Line]) -> bytes:
        file, _, line = read
        new, old = line.get("NewImage"), line.get("OldImage")
        written = int(line["Metadata"]["WriteTimestampMicros"]["N"])
        image = new if new is not None else old if old is not None else line["Keys"]
        return encode_change(
            image,
            operation="REMOVE" if new is None else "INSERT" if old is None else "MODIFY",
            sequence_number=sequence_after(numbers[item_key(key, line["Keys"])][file.window_end], written),
            event_time=written // 1000,
        ).encode()

    return encode
