"""Corrections of local AWS, and what its modules import."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from infra.local.aws.patch import Patch

ROOT = Path(__file__).resolve().parents[2]
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in (ROOT / "infra" / "local").rglob("*.py")
}


@pytest.fixture
def service() -> ModuleType:
    """A module like one of ministack's services."""
    module = ModuleType("ministack.services.queue")
    vars(module).update(_put=lambda item: [item], _HANDLERS={"Put": lambda item: [item]})
    return module


def put_twice(original: Callable[[str], list[str]], item: str) -> list[str]:
    """Put an item twice.

    As AWS does.
    """
    return original(item) * 2


def put_nothing(item: str) -> list[str]:
    return []


def test_a_correction_is_applied_and_undone(service: Any) -> None:
    undo_inner = Patch(service, ("_put",), put_twice, True).apply()
    undo_outer = Patch(service, ("_put",), put_twice, True).apply()
    assert service._put("a") == ["a"] * 4
    undo_outer()
    assert service._put("a") == ["a"] * 2
    undo_inner()
    assert service._put("a") == ["a"]


def test_a_correction_of_a_handler_may_replace_it(service: Any) -> None:
    undo = Patch(service, ("_HANDLERS", "Put"), put_nothing, False).apply()
    assert service._HANDLERS["Put"]("a") == []
    undo()
    assert service._HANDLERS["Put"]("a") == ["a"]


def test_a_correction_says_what_it_corrects(service: ModuleType) -> None:
    assert str(Patch(service, ("_put",), put_twice, True)) == "queue._put: Put an item twice."
    assert str(Patch(service, ("_HANDLERS", "Put"), put_twice, True)) == "queue._HANDLERS[Put]: Put an item twice."


@pytest.mark.parametrize("names", [("_get",), ("_HANDLERS", "Get"), ("_GONE", "Put")])
def test_a_correction_of_what_ministack_lacks_fails(service: ModuleType, names: tuple[str, ...]) -> None:
    with pytest.raises(LookupError, match=rf"ministack has no queue\.{names[0]}.*: adapt {__name__}.put_twice"):
        Patch(service, names, put_twice, True).apply()


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
