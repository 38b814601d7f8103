"""The rules of a certificate: what the lake has shown since a moment, how shares are compared, and what is told."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynalake.certify.certificate import Certificate, Difference, check_certificates
from dynalake.certify.certification import Certification, InDoubt, difference_kind
from dynalake.certify.compare import Tally
from dynalake.certify.key_shares import SHARE_ITEMS, KeyShares, count_shares
from dynalake.certify.versions import ItemVersion, newest, shown_since
from dynalake.errors import AlarmError

# -- what the lake has shown ---------------------------------------------------------------------------------------


def version(sequence: int, time: int, image: str | None, *, first: bool = False, state: bool = False) -> ItemVersion:
    operation = "INSERT" if first else "REMOVE" if image is None else "MODIFY"
    return ItemVersion(f"{0 if state else 1}{sequence:040d}", time, operation, image)


A, B, GONE, C = version(1, 10, "a", first=True), version(2, 20, "b"), version(3, 30, None), version(4, 40, "c")


@pytest.mark.parametrize(
    ("versions", "moment", "shown"),
    [
        ([], 0, {None}),
        ([A, B, GONE, C], 5, {None, "a", "b", "c"}),
        ([A, B, GONE, C], 10, {"a", "b", None, "c"}),
        ([C, GONE, B, A], 25, {"b", None, "c"}),
        ([A, B, GONE, C], 30, {None, "c"}),
        ([A, B, GONE, C], 99, {"c"}),
        ([A, B, GONE], 99, {None}),
        # Folded in the meantime: what was before is unknown, but there was something.
        ([B], 5, {"b"}),
        # A change after the state's bound counts, whatever its number.
        ([version(9, 5, "state", state=True), version(2, 20, "b")], 99, {"b"}),
    ],
)
def test_what_the_lake_has_shown_since_a_moment(
    versions: list[ItemVersion], moment: int, shown: set[str | None]
) -> None:
    assert shown_since(versions, moment) == shown
    assert newest(versions) in shown


@st.composite
def lives(draw: st.DrawFn) -> list[ItemVersion]:
    """Draw all versions of an item, from its insertion on."""
    life: list[ItemVersion] = []
    time = 0
    for number in range(draw(st.integers(0, 6))):
        time += draw(st.integers(1, 5))
        there = bool(life) and life[-1].image is not None
        removed = there and draw(st.booleans())
        life.append(version(number, time, None if removed else f"image {number}", first=not there))
    return life


def at(life: list[ItemVersion], moment: int) -> str | None:
    """Return what DynamoDB showed at a moment."""
    return newest([v for v in life if v.time <= moment])


@given(lives(), st.integers(0, 30), st.integers(0, 30))
def test_a_complete_lake_has_shown_what_dynamodb_showed(life: list[ItemVersion], since: int, later: int) -> None:
    """At any moment from `since` on, whatever has happened to the item before it is compared."""
    assert at(life, since + later) in shown_since(life, since)


@given(lives(), st.integers(0, 6))
def test_a_lake_that_lost_the_last_change_has_not(life: list[ItemVersion], ago: int) -> None:
    """Nor one that has another image: the change is older than the comparison."""
    if not life:
        return
    now = life[-1].time + ago
    assert at(life, now) not in shown_since(life[:-1], now)
    assert at(life, now) not in shown_since([*life[:-1], version(9, life[-1].time, "flipped")], now)


# -- shares --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("items", "shares"), [(0, 1), (SHARE_ITEMS, 2), (10 * SHARE_ITEMS, 11), (10**10, 4096)])
def test_shares_are_as_many_as_bound_the_memory(items: int, shares: int) -> None:
    assert count_shares(items) == shares


@given(st.lists(st.tuples(st.text(max_size=3), st.text(max_size=3), st.integers())), st.integers(1, 5))
def test_a_share_has_all_entries_of_its_keys(entries: list[tuple[str, str, int]], count: int) -> None:
    with TemporaryDirectory() as directory:
        one, other = KeyShares(Path(directory) / "one", count), KeyShares(Path(directory) / "other", count)
        for first, second, value in entries:
            one.put((first, second), value)
            other.put((first, second))
        assert one.entries == len(entries)
        read = [[*one.read(number)] for number in range(count)]
        assert sorted(e for share in read for e in share) == sorted(((a, b), [value]) for a, b, value in entries)
        for number, share in enumerate(read):
            assert {key for key, _ in other.read(number)} == {key for key, _ in share}


def test_a_share_compared() -> None:
    """Equal items, one that changed since, one that came since, and each kind of difference."""
    images = {"same": "a", "changed": "a", "lost": "new", "new": "a", "came": "b", "went": "a"}
    lake = {
        "same": [version(1, 1, "a", first=True)],
        "changed": [version(1, 1, "a", first=True), version(2, 20, "b")],
        "lost": [version(1, 1, "old", first=True)],
        "extra": [version(1, 1, "a", first=True)],
        "came": [version(1, 20, "b", first=True)],
        "came later": [version(1, 20, "b", first=True)],
        "went": [version(1, 1, "a", first=True), version(2, 20, None)],
        "gone": [version(1, 1, "a", first=True), version(2, 2, None)],
    }
    tally = Tally()
    tally.add((((key,), image) for key, image in images.items()), {(key,): v for key, v in lake.items()}, 10)
    assert tally.rows == 6
    assert tally.doubts == [InDoubt(("lost",), "new"), InDoubt(("new",), "a"), InDoubt(("extra",), None)]
    kinds = defaultdict(list)
    for doubt in tally.doubts:
        kinds[difference_kind(doubt.image, newest(lake.get(doubt.key[0], [])))].append(doubt.key[0])
    assert kinds == {"different": ["lost"], "missing": ["new"], "extra": ["extra"]}


# -- the certificate -----------------------------------------------------------------------------------------------

CERTIFICATION = Certification("RECEIPTS", "run", "export", 1_558_778_400_000, 412_301_882, 412_301_882, ())


def certificate(**kinds: int) -> Certificate:
    named = (Difference("id='a'", "different", ("total", "tags")),) if kinds else ()
    return Certificate.of(CERTIFICATION, kinds, named, 41.2, 1_558_779_000_000)


def test_the_note() -> None:
    assert certificate().note() == (
        "RECEIPTS: 412,301,882 items compared, 0 differences (by export as of 2019-05-25 10:00:00+00:00; about $41.20)"
    )
    wrong = certificate(different=2, extra=1)
    assert "compared, 3 differences (1 only in the lake; 2 with other attributes; by export" in wrong.note()
    assert [*wrong.lines()][1] == "id='a': with other attributes ('total', 'tags')"


def test_certificates_that_fail_the_run() -> None:
    check_certificates({"RECEIPTS": certificate()})
    with pytest.raises(AlarmError, match="2 differences"):
        check_certificates({"RECEIPTS": certificate(missing=2), "OTHER": certificate()})
    with pytest.raises(AlarmError, match="Not compared: OTHER"):
        check_certificates({"RECEIPTS": certificate(), "OTHER": None})


@pytest.mark.parametrize("stored", [certificate(), certificate(missing=1)])
def test_a_certificate_is_read_as_it_was_written(stored: Certificate) -> None:
    assert Certificate.from_json(stored.to_json()) == stored


def test_a_comparison_is_read_as_it_was_written() -> None:
    doubts = (InDoubt(("a", "1"), "image"), InDoubt(("b", "2"), None))
    stored = Certification("RECEIPTS", "run", "scan", 1, 2, 3, doubts, {"missing": 4}, 5, 6)
    assert Certification.from_json(stored.to_json()) == stored
