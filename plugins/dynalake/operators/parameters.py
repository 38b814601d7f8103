"""The trigger forms: Airflow's parameters, made from the described options."""

from __future__ import annotations

from dataclasses import Field
from typing import Any

from airflow.sdk import Param

from dynalake.options.option import Options, choices_of, default_of, is_required, kind_of

_TYPES = {bool: "boolean", int: "integer", str: "string", tuple: "array"}


def form(*kinds: type[Options]) -> dict[str, Param]:
    """Return the parameters of a DAG, in this order."""
    return {f.name: _parameter(f, keeps=kind.keeps) for kind in kinds for f in kind.described()}


def _parameter(f: Field[Any], *, keeps: bool) -> Param:
    about, default, kind = f.metadata, default_of(f), _TYPES[kind_of(f)]
    section, description, choices = about["section"], about["description"], [*choices_of(f)]
    # Airflow's form takes an empty text for a missing value, and would not start the run.
    nullable = keeps or (default in (None, "") and not is_required(f))
    if keeps:
        shown = f"`{default}`" if default != "" else "none"
        description += f" If you leave it empty, the lake keeps its value; a new lake has {shown}."
        section = f"Lake: {section.lower()}"
        choices = choices and [None, *choices]
    schema = {
        "type": ["null", kind] if nullable else kind,
        "title": about["title"],
        # Airflow's form draws boxes around code, which cover the lines above and below.
        "description_md": description.replace("`", "**"),
        "section": section,
        "enum": choices,
        "minimum": about["minimum"],
        "maximum": about["maximum"],
        "examples": [*about["examples"]],
        "format": about["format"],
        "items": {"type": "string"} if kind == "array" else None,
    }
    given = {name: value for name, value in schema.items() if value not in (None, "", [])}
    if is_required(f):
        return Param(**given)
    return Param(None if nullable else [*default] if kind == "array" else default, **given)
