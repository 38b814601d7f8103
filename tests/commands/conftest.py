"""The processes that a command has started are recognized by a mark in their environment."""

from __future__ import annotations

import uuid

import pytest

from tests.commands.commands import Marked


@pytest.fixture
def marked() -> Marked:
    return Marked(uuid.uuid4().hex)
