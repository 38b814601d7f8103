"""The form of `dynalake_setup`: the run, the table's settings and the lake's options, from their own descriptions."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from airflow.sdk import Param

from dynalake.operators.parameters.which import RUN, table_parameter, where_parameters
from dynalake.options.lake_options import option_fields
from dynalake.options.settings import TableSettings


def setup_parameters() -> dict[str, Param]:
    return {
        **table_parameter(),
        "backfill": Param(
            "auto",
            enum=["auto", "export", "scan", "none"],
            type="string",
            title="Backfill",
            description_md="How to bring in the items that the table already has, once the pipeline works. **export**: "
            "by DynamoDB's export to S3, which needs point-in-time recovery. **scan**: by reading the table. **auto**: "
            "export if point-in-time recovery is on, otherwise scan. **none**: later, by triggering dynalake_backfill.",
            section=RUN,
        ),
        "enable_stream": Param(
            False,
            type="boolean",
            title="Turn on the stream",
            description_md="If the table has no stream, turns it on with both images. This changes your table.",
            section=RUN,
        ),
        "enable_pitr": Param(
            False,
            type="boolean",
            title="Turn on point-in-time recovery",
            description_md="If it is off, turns it on. It costs per GB and month.",
            section=RUN,
        ),
        "update_settings": Param(
            False,
            type="boolean",
            title="Change existing settings and options",
            description_md="Changes settings of the table, and options of the lake, that are already set up. Without "
            "it, a run with different values stops and says which.",
            section=RUN,
        ),
        "plan_only": Param(
            False,
            type="boolean",
            title="Only show the plan",
            description_md="Shows what CloudFormation would change and what the table will cost, and stops.",
            section=RUN,
        ),
        **where_parameters(),
        **settings_parameters(),
        **lake_parameters(),
    }


def settings_parameters() -> dict[str, Param]:
    """Return a table's settings, from their own descriptions."""
    return {f.name: _setting_parameter(f.default, dict(f.metadata)) for f in fields(TableSettings) if f.name != "table"}


def _setting_parameter(default: Any, about: dict[str, Any]) -> Param:
    options: dict[str, Any] = {"description_md": _in_form(about["description"]), "section": about["section"]}
    if about["choices"]:
        kind = "integer" if isinstance(default, int) else "string"
        options |= {"type": kind, "enum": list(about["choices"])}
    elif isinstance(default, bool):
        options |= {"type": "boolean"}
    elif isinstance(default, int):
        options |= {"type": "integer", "minimum": about["minimum"], "maximum": about["maximum"]}
    elif default == "":
        # Airflow's form takes an empty text for a missing value, and would not start the run.
        return Param(None, **options, type=["null", "string"])
    else:
        options |= {"type": "string"}
    return Param(default, **options)


def lake_parameters() -> dict[str, Param]:
    """Return the options of the lake; each is empty in the form, which keeps the lake's value."""
    return {f.name: _option_parameter(f.default, dict(f.metadata)) for f in option_fields()}


def _option_parameter(default: Any, about: dict[str, Any]) -> Param:
    kind = "integer" if isinstance(default, int) else "string"
    options: dict[str, Any] = {"type": ["null", kind], "section": f"Lake: {about['section'].lower()}"}
    if about["choices"]:
        options["enum"] = [None, *about["choices"]]
    elif kind == "integer":
        options |= {"minimum": about["minimum"], "maximum": about["maximum"]}
    shown = f"`{default}`" if default != "" else "none"
    text = f"{about['description']} If you leave it empty, the lake keeps its value; a new lake has {shown}."
    return Param(None, description_md=_in_form(text), **options)


def _in_form(description: str) -> str:
    """Return a description without code: Airflow's form draws boxes around it that cover the lines above and below."""
    return description.replace("`", "**")
