"""The repository, and what a machine must have for a test."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def need(program: str) -> str:
    """Return the program's path. If it is missing, fail the test in CI; elsewhere skip it and say what is missing."""
    path = shutil.which(program)
    if path is None:
        lack(f"{program} is not on this machine (Debian: apt-get install {program})")
    return path


def lack(message: str) -> NoReturn:
    """Skip the test because the machine lacks something that it needs; in CI fail it."""
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)
