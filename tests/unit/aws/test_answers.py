"""What AWS answered: its code, and the block that tolerates some."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from dynalake.aws.answers import code_of, message_of, tolerate
from dynalake.errors import SourceError


def answer(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "it is gone"}}, "GetTable")


def test_a_code_is_that_of_an_answer_and_of_nothing_else() -> None:
    assert (code_of(answer("NoSuchKey")), message_of(answer("NoSuchKey"))) == ("NoSuchKey", "it is gone")
    for other in (None, KeyError("response"), SourceError("x"), EndpointConnectionError(endpoint_url="https://x")):
        assert (code_of(other), message_of(other)) == ("", "")
    hostile = RuntimeError("x")
    for response in (None, "Error", {}, {"Error": "text"}, {"Error": None}):
        hostile.response = response  # type: ignore[attr-defined]
        assert code_of(hostile) == ""


def test_only_the_named_codes_are_tolerated() -> None:
    reached = []
    with tolerate("NoSuchKey", "404"):
        reached.append("before")
        raise answer("404")
    assert reached == ["before"]
    for error in (answer("AccessDenied"), ValueError("404"), KeyboardInterrupt()):
        with pytest.raises(type(error)), tolerate("NoSuchKey", "404"):
            raise error
