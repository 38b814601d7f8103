"""The processes that a command has started are recognized by a mark in their environment."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass
class Marked:
    """Finds the processes of one command by a variable in their environment."""

    mark: str

    def environment(self) -> Mapping[str, str]:
        return {**os.environ, "DYNALAKE_TEST_MARK": self.mark}

    def processes(self) -> dict[int, str]:
        """Return pid → command line of every running process with the mark."""
        commands = {}
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if f"DYNALAKE_TEST_MARK={self.mark}".encode() in (entry / "environ").read_bytes():
                    commands[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue  # it ended in the meantime
        return commands


@pytest.fixture
def marked() -> Marked:
    return Marked(uuid.uuid4().hex)
