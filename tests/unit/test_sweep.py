"""Sweeps of tests are played in shares, which together are the whole sweep."""

from __future__ import annotations

import pytest

from tests.support import sweep
from tests.support.sweep import Share, parse_share


@pytest.mark.parametrize("count", [1, 3, 8, 30, 113])
@pytest.mark.parametrize("every", [1, 5])
def test_shares_from_all_points_on_play_each_point(count: int, every: int) -> None:
    shares = [set(Share(8, first).places(count, every)) for first in range(8 * every)]

    assert set().union(*shares) == set(range(count))
    assert min(map(len, shares)) >= 1
    assert max(map(len, shares)) <= -(-count // (8 * every)) or count <= 8 * every


def test_an_empty_sweep_fails() -> None:
    with pytest.raises(AssertionError, match="without points"):
        Share(8, 0).places(0)


@pytest.mark.parametrize(
    ("text", "share", "places"),
    [
        ("1/8", Share(8, 1003), [3, 11, 19]),
        ("1/8@12", Share(8, 12), [4, 12, 20]),
        ("1/1", Share(1, 1003), list(range(24))),
        ("@17", Share(None, 17), [17]),
    ],
)
def test_a_share_is_named_by_its_text(text: str, share: Share, places: list[int]) -> None:
    assert parse_share(text, commit=1003) == share
    assert list(share.places(24)) == places
    assert parse_share(str(share), commit=5) == share


@pytest.mark.parametrize("text", ["", "8", "1/0", "2/8", "@", "1/8@"])
def test_another_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"DYNALAKE_SWEEP is .*; allowed are '1/8'"):
        parse_share(text, commit=0)


def test_a_failing_point_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "SHARE", Share(8, 2))
    for letter in sweep.played("abcdefghijklmnop"):
        if letter == "k":
            break
    failed = sweep.point
    assert failed == 10
    monkeypatch.setattr(sweep, "SHARE", Share(None, failed))
    assert list(sweep.played("abcdefghijklmnop")) == ["k"]
