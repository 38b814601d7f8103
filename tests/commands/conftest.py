"""What a command has started is known by a mark in its environment."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass
class Marked:
    """Finds the processes that came from one command, by a variable in their environment."""

    mark: str

    def environment(self) -> Mapping[str, str]:
        return {**os.environ, "DYNALAKE_TEST_MARK": self.mark}

    def processes(self) -> dict[int, str]:
        """pid → command line of every living process with the mark."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if f"DYNALAKE_TEST_MARK={self.mark}".encode() in (entry / "environ").read_bytes():
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue  # it ended meanwhile
        return found


@pytest.fixture
def marked() -> Marked:
    return Marked(uuid.uuid4().hex)
