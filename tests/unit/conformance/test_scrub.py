"""A report can be attached to an issue: it does not reveal the tested account."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from infra.conformance.scrub import Scrubber

DIGITS = st.text("0123456789", min_size=12, max_size=12)
NAMES = st.text(string.ascii_lowercase + string.digits + "-", min_size=3, max_size=30).map(lambda name: f"b{name}b")
KEYS = st.tuples(
    st.sampled_from(["AKIA", "ASIA", "AROA"]),
    st.text(string.ascii_uppercase + string.digits, min_size=16, max_size=16),
).map("".join)
KEY_IDS = st.uuids().map(str)
# Text around a secret: characters that cannot be part of one.
AROUND = st.text(" \n\t\"'(),;<>[]{}äß", max_size=12)


def arns(account: str, name: str) -> list[str]:
    return [
        f"arn:aws:iam::{account}:role/{name}/Some.One@example.org",
        f"arn:aws-cn:dynamodb:cn-north-1:{account}:table/{name}/stream/2019-05-25T00:00:00.000",
        f"arn:aws:s3:::{name}/some/key",
        "arn:aws",  # cut off
        f"arn%3Aaws%3Akms%3Aus-east-1%3A{account}%3Akey%2F{name}",
        f"ARN:AWS:LAMBDA:US-EAST-1:{account}:FUNCTION:{name}",
        f"https://{name}.s3.us-east-1.amazonaws.com/{account}",
    ]


@given(DIGITS, NAMES, KEYS, KEY_IDS, st.lists(AROUND, min_size=8, max_size=8), st.data())
def test_no_secret_remains(account: str, name: str, key: str, key_id: str, around: list[str], data: Any) -> None:
    """Of the tested account and of any other, whatever the text next to them."""
    assume(account not in name)
    arn = data.draw(st.sampled_from(arns(account, name)))
    secrets = [arn, f"s3://{name}/some/key", key, key_id, account, f"{name}-{account}-us-east-1", f"mrk-{'0f' * 16}"]
    text = "".join(part for pair in zip(around, [*secrets, ""], strict=True) for part in pair)
    for scrubber in (Scrubber([]), Scrubber([account, name])):
        clean = scrubber.text(text)
        assert account not in clean
        assert key not in clean
        assert key_id not in clean
        assert "arn:" not in clean.lower()
        assert "0f0f" not in clean
        assert f"//{name}" not in clean
        assert scrubber.text(clean) == clean
    assert name not in Scrubber([account, name]).text(text)


@given(DIGITS, NAMES, st.text(max_size=20), st.text(max_size=20))
def test_known_secrets_are_removed_within_any_text(account: str, name: str, left: str, right: str) -> None:
    """Also inside of words and in another case; names of JSON members count, too."""
    scrubber = Scrubber([account, name])
    tree = {f"{left}{account}{right}": [{"x": f"{left}{name.upper()}{right}"}, 5, None, True]}
    ((member, (inner, *rest)),) = scrubber.tree(tree).items()
    assert account not in member
    assert name not in inner["x"].lower()
    assert rest == [5, None, True]


@pytest.mark.parametrize(
    "text",
    [
        "12345678901234567890123456789012345678",
        "9.9999999999999999999999999999999999999E+125",
        "2019-05-25T10:11:12.123456+00:00",
        "1558742400000",
        "CustomTimeZone Asia/Kolkata is not supported.",
        "PutRecord allowed, GetRecords refused",
        "conformance_1a2b_current",
    ],
)
def test_useful_text_is_kept(text: str) -> None:
    assert Scrubber(["123456789012"]).text(text) == text or "123456789012" in text
    assert Scrubber([]).text(text) == text
