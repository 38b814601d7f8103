"""How raw text is cut into blocks, and how odd lines are sampled first."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynalake.convert.read.compiled import blocks, compiled, parse, scan
from dynalake.convert.read.compiled.blocks import Block, read_blocks
from dynalake.lake.catalog.table import Table
from dynalake.lake.columns.schema import TableSchema
from tests.unit.convert.batches import NAMES, TEXT_KEY, Bucket, change, find, line_of

KNOWN = st.one_of(
    st.integers(0, 5 * blocks._WIDE), st.sampled_from([k * blocks._WIDE + d for k in range(1, 6) for d in (-1, 0)])
)
BODIES = st.lists(st.lists(st.integers(0, 40), max_size=20), max_size=12)
"""The objects of a day, each as the lengths of its lines."""


def read(bodies: list[bytes], columns: int) -> list[Block]:
    stored = Bucket({f"{i:03d}": body for i, body in enumerate(bodies)})
    return list(read_blocks(Table(stored.clients(), NAMES), stored.objects(), lambda: columns))


@given(BODIES, st.booleans(), st.integers(1, 120), KNOWN)
def test_blocks_have_each_line_once_and_a_size_that_fits_the_columns(
    lengths: list[list[int]], packed: bool, size: int, columns: int
) -> None:
    texts = [b"".join(b"x" * n + b"\n" for n in line_lengths) for line_lengths in lengths]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK", size)
        cut_blocks = read([gzip.compress(text) if packed else text for text in texts], columns)
    # As wide as the table, but a block is never larger than three narrow ones and the piece that filled it.
    least = size * (1 if columns < blocks._WIDE else 2 if columns < 2 * blocks._WIDE else 3)
    objects = [b"" for _ in texts]
    for number, block in enumerate(cut_blocks):
        text = block.text.removesuffix(scan.PADDING)
        assert (len(block.text), block.lost) == (len(text) + len(scan.PADDING), ())
        starts = [start for start, _ in block.origins]
        for (start, origin), end in zip(block.origins, [*starts[1:], len(text)], strict=True):
            objects[origin] += text[start:end]
        assert starts[-1] < least, "it was large enough before its last piece"
        assert len(text) >= least or number == len(cut_blocks) - 1, "it was cut before it was large enough"
    assert objects == texts


def test_blocks_grow_as_columns_become_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a reading too: it begins with a table's key, and finds the other columns."""
    monkeypatch.setattr(blocks, "BLOCK", 1000)
    monkeypatch.setattr(blocks, "_WIDE", 10)
    sizes: list[int] = []

    def watched(*arguments: object) -> Iterator[Block]:
        for block in read_blocks(*arguments):  # type: ignore[arg-type]
            sizes.append(len(block.text))
            yield block

    monkeypatch.setattr(compiled, "read_blocks", watched)
    for wide in (0, 30):
        sizes.clear()
        values = {f"a{i}": "x" for i in range(wide)} | {"t": "x" * 400}
        bodies = [line_of(change({**values, "id": f"{n}"}, n)) for n in range(60)]
        find(bodies, TableSchema.of_new_table(TEXT_KEY), compiled=True)
        longest = len(bodies[-1]) + 1
        if wide:
            assert sizes[0] <= 1000 + longest + len(scan.PADDING)
            assert max(sizes) >= 3000
        else:
            assert max(sizes) <= 1000 + longest + len(scan.PADDING)


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=900), st.sampled_from([1, 100, 1000]))
def test_a_sample_is_spread_evenly_within_its_limit(lengths: list[int], times: int) -> None:
    places, at = [], 0
    for length in lengths:
        places.append((at, at + length * times))
        at += length * times + 1
    sample = parse.sample(places)
    mean = sum(lengths) * times / len(lengths)
    most = min(parse._SAMPLE, parse._SAMPLE_BYTES / mean, len(places))
    assert most / 2 <= len(sample) <= max(1.0, most) + 1
    positions = [places.index(place) for place in sample]
    (step,) = {after - before for before, after in pairwise(positions)} or {len(places)}
    assert positions[0] == 0
    assert len(places) - positions[-1] <= step
