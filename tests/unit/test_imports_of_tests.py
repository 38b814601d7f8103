"""Tests can be moved and deleted one by one: what they share lies in modules that have no tests."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.support.machine import REPOSITORY


def imported(path: Path) -> set[str]:
    """Return the names of all modules that a file may import: `from a import b` may import `a` and `a.b`."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def test_nothing_imports_a_test_module_or_a_conftest() -> None:
    tests = REPOSITORY / "tests"
    own = {
        ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
        for name in ("test_*.py", "conftest.py")
        for path in tests.rglob(name)
    }
    wrong = {str(path.relative_to(tests)): imported(path) & own for path in tests.rglob("*.py")}
    assert len(own) > 100
    assert {path: modules for path, modules in wrong.items() if modules} == {}
