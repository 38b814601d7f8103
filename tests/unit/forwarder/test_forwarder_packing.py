"""Lines into blobs into requests."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from forwarder.packing import Blob, Limits, Line, pack, requests

LINES = st.lists(st.integers(2, 300), max_size=60).map(
    lambda sizes: [Line(i, str(1000 + i), b"x" * (size - 1) + b"\n") for i, size in enumerate(sizes)]
)


@given(LINES, st.integers(300, 1000))
def test_nothing_is_lost_reordered_or_over_the_limit(lines: list[Line], limit: int) -> None:
    blobs = pack(lines, limit)
    assert b"".join(blob.data for blob in blobs) == b"".join(line.data for line in lines)
    assert all(len(blob.data) <= limit and blob.data.endswith(b"\n") for blob in blobs)
    starts = [blob.first_position for blob in blobs]
    assert starts == sorted(set(starts))
    assert all(blob.key == lines[blob.first_position].sequence_number for blob in blobs)
    # No line would have fitted into the blob before its own.
    for before, after in pairwise(blobs):
        assert len(before.data) + len(after.data.split(b"\n", 1)[0]) + 1 > limit


@given(st.lists(st.integers(1, 900), max_size=60), st.integers(1, 7), st.integers(100, 1000))
def test_requests_stay_within_their_limits(sizes: list[int], records: int, request: int) -> None:
    blobs = [Blob(i, "k", b"x" * size) for i, size in enumerate(sizes)]
    packed = list(requests(blobs, Limits(records=records, request=request, record=900)))
    assert [blob for batch in packed for blob in batch] == blobs
    for batch in packed:
        assert 0 < len(batch) <= records
        assert len(batch) == 1 or sum(blob.size for blob in batch) <= request


def test_small_changes_share_a_record() -> None:
    lines = [Line(i, str(i), b"x" * 199 + b"\n") for i in range(1000)]
    assert [len(blob.data) for blob in pack(lines, 1000 * 1024)] == [200_000]
