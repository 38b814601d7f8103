"""Rows in memory and on disk, which are read again."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynalake.lake.working import spool as module
from dynalake.lake.working.spool import Spool


def test_a_spool_can_be_read_repeatedly(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "rows", held=100)
    for number in range(50):
        spool.add(pa.table({"n": [number] * 3}))
    spool.add(pa.table({"n": pa.array([], pa.int64())}))

    for _ in range(2):
        assert [n for rows in spool for n in rows["n"].to_pylist()] == [n for n in range(50) for _ in range(3)]
    assert spool.rows == 150
    assert len(list(tmp_path.iterdir())) > 5
    spool.discard()
    assert list(tmp_path.iterdir()) == []


@given(
    st.lists(st.integers(0, 9), max_size=8),
    st.sampled_from([1, 100, 1 << 20]),
    st.sampled_from([1, 3, 100]),
    st.integers(0, 40),
    st.integers(0, 40),
)
def test_rows_between_two_places_are_read_from_memory_and_disk(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], held: int, chunk: int, start: int, end: int
) -> None:
    values, spool = iter(range(100)), Spool(tmp_path_factory.mktemp("spool") / "rows", held)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_CHUNK", chunk)
        for size in sizes:
            spool.add(pa.table({"n": pa.array([next(values) for _ in range(size)], pa.int64())}))

    everything = [*range(sum(sizes))]
    assert spool.rows == len(everything)
    assert [n for rows in spool for n in rows["n"].to_pylist()] == everything
    assert [n for rows in spool.between(start, end) for n in rows["n"].to_pylist()] == everything[start:end]
