"""The trigger forms: Airflow's parameters, made from the described options.

Airflow's form has its own ideas, which this module works around, the same in the oldest and the newest version:

* It starts no run while a field is empty whose type has no null.
* It changes a number outside `minimum` and `maximum` to the nearest one without a word. Limits in `allOf` are unknown
  to it: Airflow's API refuses such a number and says why.
* It draws boxes around code, which cover the lines above and below.
* A choice between numbers sends texts in Airflow 3.1, so such an option is a field for a number.
"""

from __future__ import annotations

from dataclasses import Field
from typing import Any

from airflow.sdk import Param

from dynalake.options.option import Options, choices_of, default_of, is_required, kind_of, limits_of

_TYPES = {bool: "boolean", int: "integer", str: "string", tuple: "array"}


def form(*kinds: type[Options], environment: str = "") -> dict[str, Param]:
    """Return the parameters of a DAG, in this order. Of options with one name, the first is in the form.

    `environment`: the only lake of the DAG; '' if it is for all of them.
    """
    parameters: dict[str, Param] = {}
    for kind in kinds:
        for f in kind.described():
            parameters.setdefault(f.name, _parameter(f, keeps=kind.keeps))
    if environment:
        schema = parameters["environment"].schema
        parameters["environment"] = Param(environment, **{**schema, "enum": [environment]})
    return parameters


def _parameter(f: Field[Any], *, keeps: bool) -> Param:
    about, default, kind = f.metadata, default_of(f), _TYPES[kind_of(f)]
    section, choices = about["section"], [*choices_of(f)]
    limits = _limits(f) if kind == "integer" else {}
    nullable = _may_be_empty(f, keeps=keeps)
    if keeps:
        section = f"Lake: {section.lower()}"
    if keeps and choices:
        choices = [None, *choices]
    schema = {
        "type": ["null", kind] if nullable else kind,
        "title": about["title"],
        "description_md": _description(f, keeps=keeps, nullable=nullable).replace("`", "**"),
        "section": section,
        "enum": None if kind == "integer" else choices,
        "values_display": {"null": "as it is"} if keeps and choices and kind != "integer" else None,
        "allOf": [limits] if limits else None,
        "examples": [*about["examples"]],
        "format": about["format"],
        "items": {"type": "string"} if kind == "array" else None,
    }
    given = {name: value for name, value in schema.items() if value not in (None, "", [])}
    if is_required(f):
        return Param(**given)
    empty = keeps or default in (None, "")
    return Param(None if empty else [*default] if kind == "array" else default, **given)


def _may_be_empty(f: Field[Any], *, keeps: bool) -> bool:
    """Return whether a run may leave the field empty: for its default, or for the lake's value if it `keeps` that."""
    if keeps:
        return True
    default, kind = default_of(f), kind_of(f)
    return kind is not str or (default in (None, "") and not is_required(f))


def _description(f: Field[Any], *, keeps: bool, nullable: bool) -> str:
    default = default_of(f)
    sentences = [f.metadata["description"], limits_of(f)]
    if keeps:
        new = f"`{default}`" if default != "" else "none"
        sentences.append(f"If you leave it empty, the lake keeps its value; a new lake has {new}.")
    elif nullable and kind_of(f) is int:
        sentences.append(f"Empty: {default:,}.")
    return " ".join(filter(None, sentences))


def _limits(f: Field[Any]) -> dict[str, Any]:
    """Return JSON schema's words for the allowed whole numbers, or null."""
    if choices := choices_of(f):
        return {"enum": [None, *choices]}
    limits = {"minimum": f.metadata["minimum"], "maximum": f.metadata["maximum"]}
    return {name: value for name, value in limits.items() if value is not None}
