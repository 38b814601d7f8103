"""Corrections of ministack: a decorator names what a function corrects, and the server's log lists all at its start.

    @patch(kinesis, "_put_record")
    def put_record(original: Original, request: Request) -> Any: ...

A further name is a key: `@patch(firehose, "_HANDLERS", "PutRecord")` corrects `firehose._HANDLERS["PutRecord"]`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any, TypeVar

Original = Callable[..., Any]
"""What a correction replaces: its first argument."""

_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Patch:
    """One correction: its target, and the function that takes the target's place."""

    module: ModuleType
    names: tuple[str, ...]
    function: Callable[..., Any]
    needs_original: bool

    def __str__(self) -> str:
        return f"{self._target}: {(self.function.__doc__ or '').partition(chr(10))[0]}"

    def apply(self) -> Callable[[], None]:
        """Correct the target, and return the function that restores it. Raises `LookupError` if there is no target."""
        *path, last = self.names
        holder: Any = vars(self.module)
        try:
            for name in path:
                holder = holder[name]
            original = holder[last]
        except KeyError:
            correction = f"{self.function.__module__}.{self.function.__name__}"
            raise LookupError(f"ministack has no {self._target}: adapt {correction}, which corrects it") from None
        holder[last] = partial(self.function, original) if self.needs_original else self.function
        return partial(holder.__setitem__, last, original)

    @property
    def _target(self) -> str:
        name, *keys = self.names
        return f"{self.module.__name__.rpartition('.')[2]}.{name}{''.join(f'[{key}]' for key in keys)}"


_patches: list[Patch] = []


def patch(module: ModuleType, *names: str) -> Callable[[_Function], _Function]:
    """Correct a function of ministack with the decorated one, which gets the original as its first argument."""
    return partial(_register, module, names, True)


def replace(module: ModuleType, *names: str) -> Callable[[_Function], _Function]:
    """Correct a function of ministack with the decorated one, which has the same arguments."""
    return partial(_register, module, names, False)


def of(*modules: ModuleType) -> list[Patch]:
    """Return the corrections in the order of these modules, then of their definitions; a later one wraps an earlier."""
    position = {module.__name__: at for at, module in enumerate(modules)}
    # A module that is not among them would never be applied: its KeyError ends the start.
    return sorted(_patches, key=lambda patch: position[patch.function.__module__])


def _register(module: ModuleType, names: tuple[str, ...], needs_original: bool, function: _Function) -> _Function:
    _patches.append(Patch(module, names, function, needs_original))
    return function
