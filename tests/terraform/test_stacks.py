"""The modules make the same stacks as the setup DAG, whatever the names and settings are."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from dynalake.capture.source.source import Source
from dynalake.capture.stacks.package import Code, build_package
from dynalake.capture.stacks.specs import forwarder_spec, storage_spec, table_spec
from dynalake.capture.stacks.stacks import StackSpec
from dynalake.names import Lake
from dynalake.options.lake_options import LakeOptions
from dynalake.options.settings import TableSettings
from dynalake.record.key import ItemKey, KeyAttribute
from tests.terraform.root import Terraform

ACCOUNT, REGION = "000000000000", "us-east-1"
STREAM = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/any/stream/2026-01-01T00:00:00.000"
KEY = ItemKey(KeyAttribute("id", "S"))
FUNCTION = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:any"

GIVEN = {
    "prefix": "lake/raw",
    "time_zone": "Europe/Kyiv",  # Firehose knows it as Europe/Kiev
    "kms_key_arn": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/any",
    "deploy_role_arn": f"arn:aws:iam::{ACCOUNT}:role/deploys",
    "permissions_boundary_arn": f"arn:aws:iam::{ACCOUNT}:policy/bounds",
    "alarm_email": "data@example.com",
    "raw_retention_days": 400,
    "versioning": "Suspended",
    "architecture": "x86_64",
    "reserved_concurrency": 5,
    "forwarder_log_retention_days": 7,
    "lambda_throttles_alarm_count": 3,
}

TABLES = [
    # A module has no metrics to choose the shards from.
    TableSettings("RECEIPTS", shards=1),
    TableSettings("a.b_c-d", shards=1),
    TableSettings("ends-like-a-hash-0123456789ab", shards=1),
    TableSettings("x" * 52, owner="checkout", shards=1),
    TableSettings("x" * 53, shards=1),
    TableSettings("y." * 120, stream_mode="on_demand"),
    replace(TableSettings("every-other-setting", delivery="direct"), buffer_seconds=0, freshness_alarm_minutes=1),
    TableSettings("bytes", shards=3, max_record_kb=999, updated_at_attribute='"quoted" \\ #$%{x} ${y}'),
    TableSettings("empty", shards=1, updated_at_attribute="", columns='{"names": {"userId": "user_id"}}'),
]


def module(name: str, values: dict[str, Any]) -> str:
    """Return a call of a module in JSON, where `$` and `%` begin templates as in Terraform's strings."""
    return json.dumps({"module": {name: {"source": f"../../modules/{name}", **values}}})


def literal(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: literal(part) for name, part in value.items()}
    return value.replace("${", "$${").replace("%{", "%%{") if isinstance(value, str) else value


@pytest.fixture(scope="module")
def root(terraform: Terraform) -> Terraform:
    folder = terraform.folder.parent / "stacks"
    folder.mkdir()
    return replace(terraform, folder=folder)


def planned(root: Terraform, **files: str) -> dict[str, dict[str, Any]]:
    for old in root.folder.glob("*.tf.json"):
        old.unlink()
    for name, text in files.items():
        (root.folder / f"{name}.tf.json").write_text(text)
    root.run("init")
    return root.planned()


def check(values: dict[str, Any], spec: StackSpec, unknown: frozenset[str] = frozenset()) -> None:
    """Check the stack's name, text, role, tags, and every parameter; omitted ones have the template's default.

    `unknown`: parameters that a plan does not know yet.
    """
    assert values["name"] == spec.name
    assert values["template_body"] == spec.template
    assert values["iam_role_arn"] == (spec.role_arn or None)
    assert values["tags"] == dict(spec.tags)
    assert set(values["parameters"]) == set(spec.declared) - unknown
    expected = {name: value for name, value in spec.parameters.items() if name not in unknown}
    assert {name: values["parameters"][name] for name in expected} == expected


@pytest.mark.parametrize(("environment", "given"), [("dev", {}), ("a-b-c", GIVEN)])
def test_stacks_of_the_lake(root: Terraform, environment: str, given: dict[str, Any]) -> None:
    options = LakeOptions.parse(given)
    lake = Lake(environment, ACCOUNT, REGION, **options.place)
    # A plan does not know the deployed lake's outputs, so the forwarder gets them as values.
    outputs = {
        "TopicArn": f"arn:aws:sns:{REGION}:{ACCOUNT}:any",
        "KmsKeyArn": options.kms_key_arn,
        "PermissionsBoundaryArn": options.permissions_boundary_arn,
        "DeployRoleArn": options.deploy_role_arn,
    }
    sections = {f.name: f.metadata["section"] for f in LakeOptions.described()}
    stacks = planned(
        root,
        storage=module(
            "storage",
            {"environment": environment, **{n: v for n, v in given.items() if sections[n] in ("Storage", "Bucket")}},
        ),
        forwarder=module(
            "forwarder",
            {"lake": lake_value(lake, outputs), **{n: v for n, v in given.items() if sections[n] == "Forwarder"}},
        ),
    )
    check(
        stacks["module.storage.aws_cloudformation_stack.this"], storage_spec(lake, create_bucket=True, options=options)
    )
    forwarder = stacks["module.forwarder.aws_cloudformation_stack.this"]
    code = Code(build_package(lake).key)
    check(forwarder, forwarder_spec(lake, outputs, code, options), frozenset({"CodeVersion"}))


@pytest.mark.parametrize("environment", ["dev", "a-b-c-d-e-f-g-h-"])
def test_stacks_of_a_table(root: Terraform, environment: str) -> None:
    lake = Lake(environment, ACCOUNT, REGION)
    storage = {"TopicArn": "topic", "FirehoseRoleArn": "role"}
    call = {
        "for_each": {
            settings.table: literal({**asdict(settings), "shards": settings.shards or 1}) for settings in TABLES
        },
        "lake": lake_value(lake, storage),
        "function_arn": FUNCTION,
        "table_stream_arn": STREAM,
        **{name: f"${{each.value.{name}}}" for name in asdict(TABLES[0])},
    }
    stacks = planned(root, table=module("table", call))
    for settings in TABLES:
        source = Source(settings.table, "", "", STREAM, "NEW_IMAGE", KEY, False, "PAY_PER_REQUEST", 0, 0)
        spec = table_spec(lake.table(settings.table), settings, source, storage, {"FunctionArn": FUNCTION})
        check(stacks[f'module.table["{settings.table}"].aws_cloudformation_stack.this'], spec)


def lake_value(lake: Lake, outputs: dict[str, str]) -> dict[str, str]:
    """Return the storage module's output `lake`."""
    return {
        "environment": lake.environment,
        "bucket_name": lake.bucket,
        "prefix": lake.prefix,
        "time_zone": lake.time_zone,
        "stack_prefix": lake.stack_prefix,
        "stream_prefix": lake.stream_prefix,
        "firehose_role_arn": outputs.get("FirehoseRoleArn", ""),
        "topic_arn": outputs["TopicArn"],
        "kms_key_arn": outputs.get("KmsKeyArn", ""),
        "permissions_boundary_arn": outputs.get("PermissionsBoundaryArn", ""),
        "deploy_role_arn": outputs.get("DeployRoleArn", ""),
    }


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"batch_window_seconds": 0}, "batch_window_seconds is 0, but batch_size is more than 10"),
        ({"shards": 0}, "shards is a whole number from 1 to 500"),
        ({"buffer_seconds": 900}, "freshness_alarm_minutes is not more than buffer_seconds"),
        ({"updated_at_attribute": "größe"}, "Set up a table with other characters by dynalake_setup"),
        ({"buffer_mb": 129}, "buffer_mb is a whole number from 1 to 128"),
        ({"batch_size": 1.5}, "batch_size is a whole number from 1 to 10000"),
        ({"log_retention_days": 2}, "log_retention_days is one of 1, 3, 5"),
        ({"table_stream_arn": ""}, "Turn the table's stream on"),
    ],
)
def test_invalid_values_are_explained(root: Terraform, values: dict[str, Any], message: str) -> None:
    lake = Lake("dev", ACCOUNT, REGION)
    call = {"lake": lake_value(lake, {"TopicArn": "t"}), "function_arn": FUNCTION, "table": "RECEIPTS"}
    for old in Path(root.folder).glob("*.tf.json"):
        old.unlink()
    (root.folder / "table.tf.json").write_text(module("table", {**call, "table_stream_arn": STREAM, **values}))
    root.run("init")
    assert message in root.refused()


@pytest.mark.parametrize("zone", ["Australia/Melbourne", "Mars", "#", ""])
def test_a_time_zone_unknown_to_firehose_is_refused(root: Terraform, zone: str) -> None:
    for old in Path(root.folder).glob("*.tf.json"):
        old.unlink()
    (root.folder / "storage.tf.json").write_text(module("storage", {"environment": "dev", "time_zone": zone}))
    root.run("init")
    assert f"time_zone is '{zone}', which Firehose does not know" in root.refused()
