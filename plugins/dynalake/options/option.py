"""An option: a field of a dataclass, described once for the form, the check of a value, and the docs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, ClassVar, Self

from dynalake.errors import SettingsError, meant

MAIN = ""
"""The part of a form that is open. A form needs an option in it: Airflow 3.1 shows no field if each has a section."""


def option(
    default: Any,
    title: str,
    description: str,
    *,
    section: str = MAIN,
    minimum: int | None = None,
    maximum: int | None = None,
    choices: tuple[Any, ...] | Callable[[], tuple[Any, ...]] = (),
    examples: tuple[str, ...] = (),
    format: str = "",
    parameter: str = "",
) -> Any:
    """Return a field of a dataclass with everything that a form, a check and the docs need.

    `default`: a value, `MISSING` for a text that must be given, or a function, as `choices` may be, if it depends on
    environment variables. `parameter`: the name in a CloudFormation template.
    """
    about = {
        "title": title,
        "description": description,
        "section": section,
        "minimum": minimum,
        "maximum": maximum,
        "choices": choices,
        "examples": examples,
        "format": format,
        "parameter": parameter,
    }
    if callable(default):
        return field(default_factory=default, metadata=about)
    return field(default=default, metadata=about)


def dry_run_option(description: str) -> Any:
    """Return the option that lets a run show what it would do, and do nothing."""
    return option(False, "Dry run", description)


@dataclass(frozen=True)
class Options:
    """The base of dataclasses with options. Each value of an option that `parse` returns is allowed."""

    word: ClassVar[str] = "parameter"
    """Name of one option in errors."""
    keeps: ClassVar[bool] = False
    """Whether an option that the form leaves empty keeps its value."""

    @classmethod
    def described(cls) -> list[Field[Any]]:
        """Return the fields that are options, in the order of the form."""
        return [f for f in fields(cls) if "title" in f.metadata]

    @classmethod
    def parse(cls, values: Mapping[str, object]) -> Self:
        """Return options from a form, a REST `conf` or stored JSON. One error names everything that is not allowed."""
        known = {f.name: f for f in cls.described()}
        given: dict[str, Any] = {name: _plain(known[name], value) for name, value in values.items() if name in known}
        problems = [
            (name, f"there is no {cls.word} {name!r}{meant([name], known)}") for name in values if name not in known
        ]
        for name, f in known.items():
            if is_required(f) and not given.get(name):
                problems.append((name, f"{name!r} is missing"))
            elif name in given and not allows(f, given[name]):
                problems.append((name, f"{name!r} is {given[name]!r}"))
        if not problems:
            options = cls(**given)
            problems = list(options.conflicts())
        if problems:
            concerned = {name for name, _ in problems}
            raise SettingsError(
                f"{cls.word.capitalize()}s that are not allowed: " + "; ".join(text for _, text in problems),
                allowed="; ".join(allowed_by(f) for name, f in known.items() if name in concerned)
                or f"one of {', '.join(known)}",
                action="correct them and trigger the DAG again",
                **({"table": str(values["table"])} if values.get("table") else {}),
            )
        return options

    def conflicts(self) -> Iterator[tuple[str, str]]:
        """Yield the options that do not fit the others: the name, and what is wrong."""
        yield from ()


def is_required(f: Field[Any]) -> bool:
    return f.default is MISSING and f.default_factory is MISSING


def default_of(f: Field[Any]) -> Any:
    """Return the default; None for a text that must be given."""
    if f.default_factory is not MISSING:
        return f.default_factory()
    return None if f.default is MISSING else f.default


def choices_of(f: Field[Any]) -> tuple[Any, ...]:
    """Return the allowed values; none if they are not listed."""
    choices: tuple[Any, ...] = f.metadata["choices"]() if callable(f.metadata["choices"]) else f.metadata["choices"]
    return choices


def kind_of(f: Field[Any]) -> type:
    """Return the type of a value: `bool`, `int`, `str`, or `tuple` for a list of texts."""
    default = default_of(f)
    return str if default is None else type(default)


def allows(f: Field[Any], value: object) -> bool:
    """Return whether the option may have the value."""
    if value is None:
        return f.default is None
    # A bool is an int for Python.
    if type(value) is not kind_of(f):
        return False
    if isinstance(value, tuple):
        return all(isinstance(text, str) for text in value)
    if choices := choices_of(f):
        return value in choices
    low, high = f.metadata["minimum"], f.metadata["maximum"]
    return not isinstance(value, int) or ((low is None or value >= low) and (high is None or value <= high))


def allowed_by(f: Field[Any]) -> str:
    """Return the allowed values of the option, in words."""
    if choices := choices_of(f):
        return f"{f.name} is one of {', '.join(map(str, choices))}"
    kind, low, high = kind_of(f), f.metadata["minimum"], f.metadata["maximum"]
    words = {bool: "true or false", str: "text", tuple: "a list of texts"}
    number = f"a whole number from {low}" + ("" if high is None else f" to {high}")
    return f"{f.name} is {words.get(kind, number)}"


def limits_of(f: Field[Any]) -> str:
    """Return the allowed whole numbers as a sentence; '' for an option that is none, or may be any."""
    low, high, choices = f.metadata["minimum"], f.metadata["maximum"], choices_of(f)
    if kind_of(f) is not int or (low is None and not choices):
        return ""
    if choices:
        return f"One of {', '.join(map(str, choices))}."
    return f"At least {low:,}." if high is None else f"From {low:,} to {high:,}."


def _plain(f: Field[Any], value: object) -> object:
    """Return the value as the dataclass has it: JSON has lists, and a form has null for an empty field."""
    if isinstance(value, list):
        # A form has a text for each line, also for one that is blank.
        return tuple(text for line in value if (text := line.strip() if isinstance(line, str) else line) != "")
    return default_of(f) if value is None else value
