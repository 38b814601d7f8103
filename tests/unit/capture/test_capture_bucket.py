"""What the lake's bucket is encrypted with stays as it is."""

from __future__ import annotations

import pytest

from dynalake.capture import bucket
from dynalake.capture.bucket import check_key
from dynalake.capture.stacks import StackState
from dynalake.clients import Clients
from dynalake.errors import SettingsError
from dynalake.names import Lake

LAKE = Lake("dev", "123456789012", "us-east-1")
ONE, OTHER = (f"arn:aws:kms:us-east-1:123456789012:key/{name}" for name in ("one", "other"))


def test_another_key_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is under way, and what lies there, could not be read any more."""
    nothing = Clients(lambda service: None)
    for deployed, asked in (("", ""), ("", ONE), (ONE, ""), (ONE, ONE)):
        state = StackState(LAKE.storage_stack, parameters={"KmsKeyArn": deployed})
        monkeypatch.setattr(bucket, "stack_state", lambda clients, name, state=state: state)
        check_key(nothing, LAKE, asked)
    with pytest.raises(SettingsError, match=r"has kms_key_arn '.*one', and the run asks for '.*other'"):
        check_key(nothing, LAKE, OTHER)
