"""What the modules of local AWS import."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in (ROOT / "infra" / "local").rglob("*.py")
}


def imports(module: str) -> Iterator[str]:
    """Yield what a module imports anywhere, in functions too: modules by name, and packages of imported names."""
    for node in ast.walk(ast.parse(FILES[module].read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            members = [f"{node.module}.{name.name}" for name in node.names]
            yield from (member if member in FILES else node.module for member in members)


def test_no_imports_of_local_modules_form_a_circle() -> None:
    """`prepare` raises `CycleError`, which names the modules."""
    TopologicalSorter({module: {*imports(module)} & FILES.keys() for module in FILES}).prepare()


def test_local_aws_imports_nothing_of_dynalake() -> None:
    local_aws = [module for module in FILES if module.startswith("infra.local.aws")]
    assert local_aws
    assert [module for module in local_aws for name in imports(module) if name.split(".")[0] == "dynalake"] == []
