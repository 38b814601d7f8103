"""The processes that a command has started are recognized by a mark in their environment."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

import pytest

from tests.commands.commands import Marked
from tests.support.machine import REPOSITORY


@pytest.fixture
def marked() -> Marked:
    return Marked(uuid.uuid4().hex)


@pytest.fixture
def fresh_clone(tmp_path: Path) -> Path:
    """A copy of the repository in which nothing is installed, so its `.local` is not the developer's."""
    clone = tmp_path / "clone"
    clone.mkdir()
    for entry in REPOSITORY.iterdir():
        if entry.is_file():
            shutil.copy(entry, clone)
        elif not entry.name.startswith("."):
            shutil.copytree(entry, clone / entry.name, ignore=shutil.ignore_patterns("__pycache__"))
    return clone


@pytest.fixture
def clone(fresh_clone: Path) -> Path:
    """A copy of the repository that uses the installed environments."""
    for environment in (*REPOSITORY.glob(".venv*"), REPOSITORY / ".local" / "trino"):
        place = fresh_clone / environment.relative_to(REPOSITORY)
        place.parent.mkdir(exist_ok=True)
        place.symlink_to(environment.resolve())
    return fresh_clone
