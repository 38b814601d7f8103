"""Each stack as it should be: template, parameters and tags, from names and settings. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from dynalake.capture.source.source import Source
from dynalake.capture.stacks.deliveries import Deliveries, prepared
from dynalake.capture.stacks.package import Code
from dynalake.capture.stacks.stacks import StackOutputs, StackSpec
from dynalake.errors import SettingsError
from dynalake.names import STAGE_DELIVERY, Lake, TableNames
from dynalake.options.lake_options import LakeOptions
from dynalake.options.settings import TableSettings
from dynalake.sources import source_folder

TEMPLATE_VARIABLE = "DYNALAKE_TEMPLATES"
"""Variable with the folder of the templates where that is neither next to the plugins folder nor in the package."""

NO_OPTIONS = LakeOptions()


def storage_spec(lake: Lake, *, create_bucket: bool, options: LakeOptions = NO_OPTIONS) -> StackSpec:
    """Return the storage stack; `create_bucket` is false for a bucket that exists already.

    An option that is not given keeps its value in the stack.
    """
    return _spec(
        lake,
        lake.storage_stack,
        "storage",
        {
            "Environment": lake.environment,
            "BucketName": lake.bucket,
            "CreateBucket": "true" if create_bucket else "false",
            "DatabaseName": lake.database,
            "WorkgroupName": lake.workgroup,
            "Prefix": lake.prefix,
            "StreamPrefix": lake.stream_prefix,
            "TimeZone": lake.time_zone,
            "LakeParameter": lake.lake_parameter,
            **options.storage,
        },
        role_arn=options.deploy_role_arn,
    )


def forwarder_spec(lake: Lake, storage: StackOutputs, code: Code, options: LakeOptions = NO_OPTIONS) -> StackSpec:
    """Return the forwarder's stack; `storage`: the storage stack's outputs, `code`: where its code is."""
    return _spec(
        lake,
        lake.forwarder_stack,
        "forwarder",
        {
            "Environment": lake.environment,
            "FunctionName": lake.forwarder,
            "BucketName": lake.bucket,
            "CodeKey": code.key,
            "CodeVersion": code.version,
            "Prefix": lake.prefix,
            "StreamPrefix": lake.stream_prefix,
            "TimeZone": lake.time_zone,
            "DashboardName": lake.dashboard,
            "SettingsPath": lake.settings_path,
            "TopicArn": storage["TopicArn"],
            "KmsKeyArn": storage.get("KmsKeyArn", ""),
            "PermissionsBoundaryArn": storage.get("PermissionsBoundaryArn", ""),
            **options.forwarder,
        },
        role_arn=storage.get("DeployRoleArn", ""),
    )


def table_spec(
    names: TableNames,
    settings: TableSettings,
    source: Source,
    storage: StackOutputs,
    forwarder: StackOutputs,
    deliveries: Deliveries | None = None,
    *,
    shards: int = 0,
) -> StackSpec:
    """Return a table's stack with these deliveries (`deliveries.py`), to be deployed on their version.

    Without them, the stack is as first made. `shards`: of a provisioned stream; 0: those of the settings, or the
    present ones where the settings leave it to the table's peak.
    """
    deliveries = deliveries or prepared(None, settings)
    # The other settings are in SettingsJson only, and those of the stream depend on what is deployed.
    declared = {*declared_parameters(template_text("table"))} - {"Shards", "StreamMode"}
    own = {name: str(v) for k, v in asdict(settings).items() if (name := _pascal(k)) in declared}
    return _spec(
        names.lake,
        names.stack,
        "table",
        {
            "Environment": names.lake.environment,
            "Table": names.table,
            "TableStreamArn": source.stream_arn,
            "FunctionArn": forwarder["FunctionArn"],
            "FirehoseRoleArn": storage["FirehoseRoleArn"],
            "TopicArn": storage["TopicArn"],
            "BucketName": names.lake.bucket,
            "KmsKeyArn": storage.get("KmsKeyArn", ""),
            "StreamName": names.stream,
            "DeliveryStreamName": names.delivery_stream,
            "DirectDeliveryStreamName": names.direct_delivery_stream,
            "SettingsParameter": names.settings_parameter,
            "RawPrefix": names.raw_prefix,
            "RejectedPrefix": names.rejected(STAGE_DELIVERY),
            "TimeZone": names.lake.time_zone,
            **own,
            **_stream(settings, shards or settings.shards),
            "Delivery": deliveries.used,
            "Beside": deliveries.beside,
            "MappingEnabled": "true" if deliveries.reading else "false",
            "SettingsJson": deliveries.settings_json,
        },
        table=names.table,
        role_arn=storage.get("DeployRoleArn", ""),
        version=deliveries.version,
    )


def _stream(settings: TableSettings, shards: int) -> dict[str, str]:
    """Return the Kinesis stream's parameters. An unused one stays as it is, and so do shards that AWS chooses."""
    if settings.delivery == "direct":
        return {}
    count = {"Shards": str(shards)} if shards and settings.stream_mode == "provisioned" else {}
    return {"StreamMode": settings.stream_mode, **count}


def planned_storage(lake: Lake, partition: str) -> StackOutputs:
    """Return the outputs that a plan assumes for a storage stack that does not exist yet."""
    return {
        "BucketName": lake.bucket,
        "FirehoseRoleArn": f"arn:{partition}:iam::{lake.account}:role/to-be-made",
        "TopicArn": f"arn:{partition}:sns:{lake.region}:{lake.account}:to-be-made",
    }


def planned_forwarder(lake: Lake, partition: str) -> StackOutputs:
    """Return the outputs that a plan assumes for a forwarder stack that does not exist yet."""
    arn = f"arn:{partition}:lambda:{lake.region}:{lake.account}:function:{lake.forwarder}"
    return {"FunctionArn": arn}


def template_folder() -> Path:
    """Return the folder of the CloudFormation templates."""
    return source_folder("infra/cloudformation", TEMPLATE_VARIABLE, "*.yaml")


def template_text(name: str) -> str:
    """Return a template's text: `storage`, `forwarder` or `table`."""
    return (template_folder() / f"{name}.yaml").read_text(encoding="utf-8")


def declared_parameters(template: str) -> tuple[str, ...]:
    """Return the names in a template's `Parameters` section: two spaces, the name, a colon."""
    section = re.search(r"^Parameters:\n((?:^(?: .*)?\n)*)", template, re.MULTILINE)
    return tuple(re.findall(r"^  (\w+):$", section.group(1), re.MULTILINE)) if section else ()


def _spec(
    lake: Lake,
    stack: str,
    template: str,
    parameters: Mapping[str, str],
    *,
    table: str = "",
    role_arn: str = "",
    version: str | None = None,
) -> StackSpec:
    text = template_text(template)
    declared = declared_parameters(text)
    unknown = sorted(set(parameters) - set(declared))
    if unknown:
        raise SettingsError(
            f"The {template} template has no parameter {', '.join(unknown)}",
            allowed="one of " + ", ".join(declared),
            action="correct the option and trigger the DAG again",
            stack=stack,
        )
    tags = {"dynalake:environment": lake.environment, **({"dynalake:table": table} if table else {})}
    return StackSpec(stack, text, dict(parameters), declared, tags, role_arn, version)


def _pascal(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))
