"""The Terraform modules match the trigger form and the templates in every option, parameter and output."""

from __future__ import annotations

import json
import re
from dataclasses import Field, field, fields, make_dataclass
from typing import Any

import pytest
from cfnlint.decode import decode

from dynalake.names import ENVIRONMENT_PATTERN, PREFIX_PATTERN, TABLE_PATTERN
from dynalake.options.lake_options import FORWARDER, STORAGE, LakeOptions
from dynalake.options.option import allowed_by
from dynalake.options.settings import TableSettings
from tests.support.machine import REPOSITORY

MODULES = REPOSITORY / "infra" / "terraform" / "modules"
NAMES = sorted(path.name for path in MODULES.iterdir())


def source(module: str) -> str:
    return "\n".join(path.read_text() for path in sorted((MODULES / module).glob("*.tf")))


def template(name: str) -> dict[str, Any]:
    read, problems = decode(str(REPOSITORY / "infra" / "cloudformation" / f"{name}.yaml"))
    assert not problems
    return dict(read)


def blocks(text: str, kind: str) -> dict[str, str]:
    """Return the blocks of a kind by name: `variable "name" {…}`."""
    return {m[1]: m[0] for m in re.finditer(rf'^{kind} "(\w+)" {{\n.*?^}}\n', text, re.MULTILINE | re.DOTALL)}


def variable(f: Field[Any]) -> str:
    """Return the variable of an option or a setting as a module must have it."""
    kind = "bool" if isinstance(f.default, bool) else "number" if isinstance(f.default, int) else "string"
    low, high, choices = f.metadata["minimum"], f.metadata["maximum"], f.metadata["choices"]
    condition = ""
    if choices:
        condition = f"contains([{', '.join(_literal(choice) for choice in choices)}], var.{f.name})"
    elif kind == "number":
        condition = f"var.{f.name} >= {low} && var.{f.name} <= {high} && floor(var.{f.name}) == var.{f.name}"
    check = (
        f'\n  validation {{\n    condition     = {condition}\n    error_message = "{allowed_by(f)}."\n  }}\n'
        if condition
        else ""
    )
    return (
        f'variable "{f.name}" {{\n'
        f"  description = {_literal(f.metadata['description'])}\n"
        f"  type        = {kind}\n"
        f"  default     = {_literal(f.default)}\n"
        f"  nullable    = false\n{check}}}\n"
    )


def in_a_module(f: Field[Any]) -> Field[Any]:
    """Return a setting as a module has it: a module reads no metrics, so it cannot size a table's shards."""
    if f.name != "shards":
        return f
    description = (
        "Shards of a provisioned Kinesis stream; each takes 1 MB a second. AWS at most doubles or halves them at once. "
        "dynalake_setup with `dry_run` says how many the table's peak needs."
    )
    metadata = {**f.metadata, "description": description, "minimum": 1}
    (own,) = fields(make_dataclass("Own", [(f.name, int, field(default=1, metadata=metadata))]))
    return own


def _literal(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


@pytest.mark.parametrize(
    ("path", "described"),
    [
        ("storage/options.tf", [f for f in LakeOptions.described() if f.metadata["section"] == STORAGE]),
        ("forwarder/options.tf", [f for f in LakeOptions.described() if f.metadata["section"] == FORWARDER]),
        ("table/settings.tf", [in_a_module(f) for f in fields(TableSettings) if f.name != "table"]),
    ],
)
def test_options_and_settings_are_those_of_the_trigger_form(path: str, described: list[Field[Any]]) -> None:
    """Character by character: a new setting's variable can be pasted from this test's output."""
    assert list(blocks((MODULES / path).read_text(), "variable").values()) == [variable(f) for f in described]


LAKE = ("Environment", "BucketName", "Prefix", "KmsKeyArn")
"""The content of the storage module's output `lake`."""


@pytest.mark.parametrize(("module", "of_the_lake"), [("airflow", ()), ("spark", LAKE), ("redshift", LAKE)])
def test_modules_for_administrators_have_the_parameters_of_a_template(
    module: str, of_the_lake: tuple[str, ...]
) -> None:
    """The parameters of these templates are on no form; those of the lake come with it."""
    variables = blocks(source(module), "variable")
    for parameter, declaration in template(module)["Parameters"].items():
        if parameter in of_the_lake:
            continue
        name = "bucket" if parameter == "BucketName" else re.sub(r"(?<!^)([A-Z])", r"_\1", parameter).lower()
        text = variables[name]
        default = re.search(r"^  default     = (.+)$", text, re.MULTILINE)
        assert (default and json.loads(default[1])) == _plain(declaration.get("Default"))
        assert f"  description = {_literal(declaration['Description'])}\n" in text
        if "MinValue" in declaration:
            assert (
                f"var.{name} >= {declaration['MinValue']} && var.{name} <= {declaration['MaxValue']} && floor" in text
            )
        allowed = declaration.get("AllowedValues", ["true", "false"])
        assert allowed == ["true", "false"] or f"contains({_literal(allowed)}, var.{name})" in text


def _plain(default: str | int | None) -> str | int | bool | None:
    return {"true": True, "false": False}.get(str(default), default)


@pytest.mark.parametrize("module", NAMES)
def test_every_parameter_and_output_of_the_template_is_passed(module: str) -> None:
    text, read = source(module), template(module)
    passed = re.search(r"^  parameters = {\n(.*?)^  }\n", text, re.MULTILINE | re.DOTALL)
    assert passed
    assert re.findall(r"^    (\w+) +=", passed[1], re.MULTILINE) == list(read["Parameters"])
    outputs = "".join(blocks(text, "output").values())
    assert {name for name in read["Outputs"] if f'"{name}"' in outputs} == set(read["Outputs"])


@pytest.mark.parametrize("module", [*NAMES, "../examples/complete"])
def test_every_variable_and_output_is_described_and_used(module: str) -> None:
    text = source(module)
    for kind in ("variable", "output"):
        for name, block in blocks(text, kind).items():
            assert re.search(r'^  description = ".{15,}\."$', block, re.MULTILINE), name
    for name, block in blocks(text, "variable").items():
        assert re.search(r"^  type += ", block, re.MULTILINE), name
        assert f"var.{name}" in text.replace(block, ""), name


def test_names_are_checked_with_the_same_patterns() -> None:
    storage, table = source("storage"), source("table")
    for pattern, text in (
        (ENVIRONMENT_PATTERN, storage),
        (ENVIRONMENT_PATTERN, source("airflow")),
        (PREFIX_PATTERN, storage),
        (PREFIX_PATTERN, source("airflow")),
        (TABLE_PATTERN, table),
    ):
        assert f'regex("^{pattern}$"' in text, pattern
