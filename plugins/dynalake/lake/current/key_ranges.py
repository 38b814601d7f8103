"""The state's files as ranges of keys: which may hold a key, and which are written again where keys change.

A file's bounds on the columns of the identity give its range. dynalake's files do not overlap; files of another engine
may, so only the order on disk depends on it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from dynalake.lake.catalog.iceberg import DataFile

_pa: Any = pa  # its stubs take types only as literals; here they are data
pc: Any = pyarrow.compute

Key = tuple[Any, ...]
Span = tuple[int, int]
"""Places of rows: from the first to before the second."""


@dataclass(frozen=True)
class Sizes:
    """Bytes of the state's files: `file` at most, about; below `small` neighbours are merged when one is written again.

    `together`: of neighbours that are written again, about as much at a time, by a thread each. `group`: about what one
    commit replaces; a refused commit writes it again.
    """

    file: int = 128 << 20
    small: int = 32 << 20
    together: int = 256 << 20
    group: int = 1 << 30


@dataclass(frozen=True)
class KeyFile:
    """A live file and its range: the least and the greatest value of each column of the identity, if they are known."""

    file: DataFile
    low: Key | None
    high: Key | None

    @classmethod
    def of(cls, file: DataFile, identity: Sequence[str]) -> KeyFile:
        bounds = [file.bounds(name) for name in identity]
        known = [b for b in bounds if b is not None]
        if len(known) < len(bounds):
            return cls(file, None, None)
        return cls(file, tuple(b[0] for b in known), tuple(b[1] for b in known))

    def overlaps(self, low: Key, high: Key) -> bool:
        """Return whether it may have a key in the box from `low` to `high`; without bounds it may have any."""
        if not self.file.rows:
            return False
        if self.low is None or self.high is None:
            return True
        return all(a <= d and c <= b for a, b, c, d in zip(self.low, self.high, low, high, strict=True))


class Keys:
    """Keys in order, each once: the columns of the identity of some rows."""

    def __init__(self, rows: pa.Table, identity: Sequence[str]) -> None:
        self.identity = tuple(identity)
        self._columns = [_array(rows[name]) for name in identity]

    def __len__(self) -> int:
        return len(self._columns[0])

    def key(self, place: int) -> Key:
        return tuple(column[place].as_py() for column in self._columns)

    @property
    def box(self) -> tuple[Key, Key]:
        """Least and greatest value of each column."""
        ends = [pc.min_max(column).as_py() for column in self._columns]
        return tuple(e["min"] for e in ends), tuple(e["max"] for e in ends)

    def select(self, mask: Any) -> Keys:
        """Return those where `mask`, of booleans, is true."""
        columns = [column.filter(mask) for column in self._columns]
        return Keys(pa.table(columns, names=list(self.identity)), self.identity)

    def places(self, rows: pa.Table) -> Any:
        """Return the place of each row's key; null where it is not one of these."""
        columns = [_array(rows[name]) for name in self.identity]
        ends = pc.min_max(columns[0]).as_py()
        if ends["min"] is None:
            return _pa.nulls(len(columns[0]), pa.int32())
        # Most rows come in order, so only a few of many keys have to be looked up.
        start, end = self.count_below((ends["min"],)), self.count_to((ends["max"],))
        near = [column.slice(start, end - start) for column in self._columns]
        values = [pc.unique(column) for column in near]
        places = pc.index_in(_encode(columns, values), value_set=_encode(near, values))
        return pc.add(places, _pa.scalar(start, pa.int32()))

    def may_be_in(self, file: KeyFile) -> bool:
        """Return whether a file may hold one of them."""
        if not file.file.rows or not len(self):
            return False
        if file.low is None or file.high is None:
            return True
        rest = self._columns[1:]
        start, end = self.count_below((file.low[0],)), self.count_to((file.high[0],))
        if not rest or start >= end:
            return start < end
        inside: Any = True
        for column, low, high in zip(rest, file.low[1:], file.high[1:], strict=True):
            part = column.slice(start, end - start)
            inside = pc.and_(inside, pc.and_(pc.greater_equal(part, low), pc.less_equal(part, high)))
        return bool(pc.any(inside).as_py())

    def count_below(self, key: Key) -> int:
        """Return how many come before a key, or before all keys that begin with it."""
        return bisect_left(range(len(self)), key, key=lambda place: self.key(place)[: len(key)])

    def count_to(self, key: Key) -> int:
        """Return how many come before a key or are equal to it, or begin with it."""
        return bisect_right(range(len(self)), key, key=lambda place: self.key(place)[: len(key)])


def _encode(columns: Sequence[Any], values: Sequence[Any]) -> Any:
    """Return a number per row: that of its key if each value is in some key, else null. `values`: of each column."""
    codes = pc.index_in(columns[0], value_set=values[0])
    for column, others in zip(columns[1:], values[1:], strict=True):
        place = pc.index_in(column, value_set=others)
        codes = pc.add(pc.multiply(codes.cast(pa.int64()), len(others)), place.cast(pa.int64()))
    return codes


@dataclass(frozen=True)
class Rewrite:
    """Neighbouring files that are replaced together, and the places of the keys that are put among them."""

    files: tuple[KeyFile, ...]
    spans: tuple[Span, ...]

    @property
    def keys(self) -> int:
        return sum(end - start for start, end in self.spans)


def order_files(files: Collection[KeyFile]) -> list[KeyFile]:
    """Return the files by their ranges, those without a range first."""
    return sorted(files, key=lambda f: (f.low is not None, f.low or (), f.high or (), f.file.path))


def starts_of(ordered: Sequence[KeyFile]) -> list[Key]:
    """Return the key, or beginning of a key, at which the range of each file starts that has one.

    Where several files share the first column's value, they are slices of it, and start with the rest as well.
    """
    starts: list[Key] = []
    before: Any = None
    for file in ordered:
        if file.low is None:
            continue
        starts.append(file.low if starts and file.low[0] == before else file.low[:1])
        before = file.low[0]
    return starts


def plan_rewrites(
    files: Collection[KeyFile], replaced: Collection[str], keys: Keys, sizes: Sizes, row_bytes: float
) -> list[Rewrite]:
    """Return which files of one partition are written again so that `keys` can be put there.

    `replaced`: paths of the files that hold a key that changes, and so have to be. `row_bytes`: bytes of a row in a
    file. A key goes to the file in whose range it is, or to the one before; very many keys behind a file's range become
    files of their own. A small file takes small neighbours with it.
    """
    ordered = order_files([f for f in files if f.file.rows])
    unknown = sum(f.low is None for f in ordered)
    spans = dict(_spans(ordered[unknown:], keys, max(1, int(sizes.small / row_bytes))))
    # Position 2i+1 is the i-th file, 2i+2 the gap between it and the next one, 0 the gap before all.
    pieces: dict[int, list[Span]] = {2 * unknown + at: [span] for at, span in spans.items()}
    for place, file in enumerate(ordered):
        if file.file.path in replaced:
            pieces.setdefault(2 * place + 1, [])
    runs: list[list[int]] = []
    size = 0
    for at in sorted(pieces):
        last = runs[-1][-1] if runs else -9
        own = ordered[at // 2].file.size if at % 2 else 0
        is_full = size + own > sizes.together and _is_apart(ordered[at // 2 - 1], ordered[at // 2])
        if (at - last == 1 or (at - last == 2 and at % 2)) and not is_full:
            runs[-1].append(at)
            size += own
        else:
            runs.append([at])
            size = own
    taken = {at for run in runs for at in run}
    rewrites = []
    for run in runs:
        places = [at // 2 for at in run if at % 2]
        size = sum(ordered[p].file.size for p in places)
        size += int(row_bytes * sum(end - start for at in run for start, end in pieces[at]))
        places = _with_neighbours(ordered, places, run, size, taken, sizes.small)
        spans_of = tuple(span for at in run for span in pieces[at])
        rewrites.append(Rewrite(tuple(ordered[p] for p in places), spans_of))
    return rewrites


def _is_apart(file: KeyFile, following: KeyFile) -> bool:
    """Return whether one range ends before the other begins, by the first column: neither has rows of the other's."""
    return file.high is not None and following.low is not None and bool(file.high[0] < following.low[0])


def _spans(ordered: Sequence[KeyFile], keys: Keys, many: int) -> Iterator[tuple[int, Span]]:
    """Yield which keys go to which position. `many`: keys behind a file that become files of their own."""
    if not len(keys):
        return
    starts = starts_of(ordered)
    if not starts:
        yield 0, (0, len(keys))
        return
    least, greatest = keys.key(0), keys.key(len(keys) - 1)
    first = bisect_right(starts, least) - 1
    last = max(0, bisect_right(starts, greatest) - 1)
    begin = 0
    if first < 0:
        first, end = 0, keys.count_below(starts[0])
        if end >= many:
            yield 0, (0, end)
            begin = end
    for place in range(first, last + 1):
        end = len(keys) if place == last else keys.count_below(starts[place + 1])
        high = ordered[place].high
        assert high is not None
        slice_of_one = ordered[place].low is not None and (ordered[place].low or ())[0] == high[0]
        inside = min(end, max(begin, keys.count_to(high if slice_of_one else high[:1])))
        if end - inside < many:
            inside = end
        if inside > begin:
            yield 2 * place + 1, (begin, inside)
        if end > inside:
            yield 2 * place + 2, (inside, end)
        begin = end


def _with_neighbours(
    ordered: Sequence[KeyFile], places: list[int], run: Sequence[int], size: int, taken: set[int], small: int
) -> list[int]:
    """Return the places of a run's files, and of small neighbours while all of it is small."""
    low = places[0] - 1 if places else run[0] // 2 - 1
    high = places[-1] + 1 if places else run[-1] // 2
    places = list(places)
    while size < small:
        beside = [
            p
            for p in (low, high)
            if 0 <= p < len(ordered)
            and 2 * p + 1 not in taken
            and ordered[p].low is not None
            and ordered[p].file.size < small
        ]
        if not beside:
            break
        chosen = min(beside, key=lambda p: ordered[p].file.size)
        taken.add(2 * chosen + 1)
        size += ordered[chosen].file.size
        places = sorted([*places, chosen])
        low, high = (low - 1, high) if chosen == low else (low, high + 1)
    return places


def cut_tables(tables: Iterator[pa.Table], identity: Sequence[str], rows: int) -> Iterator[tuple[pa.Table, bool]]:
    """Yield rows that come in order, and whether a file ends behind them: after `rows` rows, about.

    With a sort key, a file holds all rows of each partition key, or a slice of a single one, so that the bounds of the
    files do not overlap.
    """
    if len(identity) == 1:
        yield from _cut_anywhere(tables, rows)
        return
    count = 0  # rows in the file so far
    held: pa.Table | None = None  # rows of the last partition key, which may have to begin a file
    sliced: Any = None  # the partition key, where the file is a slice of it
    for table in tables:
        rest = table if held is None else pa.concat_tables([held, table])
        held = None
        while rest.num_rows:
            changes = _changes(rest[identity[0]])
            if sliced is not None:
                same = rest[identity[0]][0].as_py() == sliced
                end = (int(changes[0]) if len(changes) else rest.num_rows) if same else 0
                some = rest.slice(0, min(end, rows - count))
                rest = rest.slice(some.num_rows)
                count += some.num_rows
                over = some.num_rows == end and (not same or len(changes) > 0)
                ends = count > 0 and (over or count >= rows)
                if some.num_rows or ends:
                    yield some, ends
                count = 0 if ends else count
                sliced = None if over else sliced
                continue
            room = rows - count
            if rest.num_rows <= room:
                keep = int(changes[-1]) if len(changes) else 0
                if keep:
                    yield rest.slice(0, keep), False
                    count += keep
                held, rest = rest.slice(keep), rest.slice(rest.num_rows)
                if held.nbytes > _HELD:
                    if count:
                        yield held.slice(0, 0), True
                    count, sliced = 0, held[identity[0]][0].as_py()
                    rest, held = held, None
                continue
            fitting = changes[changes <= room]
            if len(fitting) or count:
                end = int(fitting[-1]) if len(fitting) else 0
                yield rest.slice(0, end), True
                rest, count = rest.slice(end), 0
            else:
                sliced = rest[identity[0]][0].as_py()
    if held is not None and held.num_rows:
        yield held, False


_HELD = 32 << 20  # bytes of one partition key's rows that are kept in memory


def _cut_anywhere(tables: Iterator[pa.Table], rows: int) -> Iterator[tuple[pa.Table, bool]]:
    count = 0
    for table in tables:
        while table.num_rows:
            some, table = table.slice(0, rows - count), table.slice(rows - count)
            count = (count + some.num_rows) % rows
            yield some, count == 0


def _changes(column: Any) -> Any:
    """Return the places at which another value begins than that of the row before."""
    values = _array(column)
    if len(values) < 2:
        return np.empty(0, dtype=np.int64)
    return np.flatnonzero(np.asarray(pc.not_equal(values.slice(1), values.slice(0, len(values) - 1)))) + 1


def _array(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, _pa.ChunkedArray) else column
