"""The parts of the Terraform providers aws and archive that the modules use, for real Terraform on local AWS.

The providers' own programs come from a registry that a test cannot rely on. Names and kinds of the attributes are
those of hashicorp/aws 6 and hashicorp/archive 2; only the needed behaviour is implemented.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from threading import Lock
from typing import Any

import boto3
from tf.iface import (
    CreateContext,
    DataSource,
    DeleteContext,
    ImportContext,
    PlanContext,
    Provider,
    ReadContext,
    ReadDataContext,
    Resource,
    UpdateContext,
)
from tf.runner import run_provider
from tf.schema import Attribute, Block, NestedBlock, NestMode, Schema
from tf.types import Bool, List, Map, Set, String, Unknown
from tf.utils import Diagnostics

State = dict[str, Any]

_making = Lock()
_clients: dict[str, Any] = {}


def client(service: str) -> Any:
    # Terraform sends parallel requests; boto3's clients may be shared, but not made in two threads at once.
    with _making:
        if service not in _clients:
            _clients[service] = boto3.client(service)  # type: ignore[call-overload]
        return _clients[service]


class CallerIdentity(DataSource):
    def __init__(self, provider: Provider) -> None: ...

    @classmethod
    def get_name(cls) -> str:
        return "caller_identity"

    @classmethod
    def get_schema(cls) -> Schema:
        return Schema([Attribute("account_id", String(), computed=True)])

    def read(self, ctx: ReadDataContext, config: State) -> State:
        return {"account_id": client("sts").get_caller_identity()["Account"]}


class Region(DataSource):
    def __init__(self, provider: Provider) -> None: ...

    @classmethod
    def get_name(cls) -> str:
        return "region"

    @classmethod
    def get_schema(cls) -> Schema:
        return Schema([Attribute("region", String(), optional=True, computed=True)])

    def read(self, ctx: ReadDataContext, config: State) -> State:
        return {"region": client("sts").meta.region_name}


class ParametersByPath(DataSource):
    def __init__(self, provider: Provider) -> None: ...

    @classmethod
    def get_name(cls) -> str:
        return "ssm_parameters_by_path"

    @classmethod
    def get_schema(cls) -> Schema:
        return Schema(
            [
                Attribute("path", String(), required=True),
                Attribute("names", List(String()), computed=True),
                Attribute("values", List(String()), computed=True, sensitive=True),
            ]
        )

    def read(self, ctx: ReadDataContext, config: State) -> State:
        pages = client("ssm").get_paginator("get_parameters_by_path").paginate(Path=config["path"])
        parameters = [parameter for page in pages for parameter in page["Parameters"]]
        return {**config, "names": [p["Name"] for p in parameters], "values": [p["Value"] for p in parameters]}


class DynamodbTable(DataSource):
    def __init__(self, provider: Provider) -> None: ...

    @classmethod
    def get_name(cls) -> str:
        return "dynamodb_table"

    @classmethod
    def get_schema(cls) -> Schema:
        return Schema([Attribute("name", String(), required=True), Attribute("stream_arn", String(), computed=True)])

    def read(self, ctx: ReadDataContext, config: State) -> State:
        table = client("dynamodb").describe_table(TableName=config["name"])["Table"]
        return {**config, "stream_arn": table.get("LatestStreamArn", "")}


class S3Object(Resource):
    def __init__(self, provider: Provider) -> None: ...

    @classmethod
    def get_name(cls) -> str:
        return "s3_object"

    @classmethod
    def get_schema(cls) -> Schema:
        return Schema(
            [
                Attribute("bucket", String(), required=True, requires_replace=True),
                Attribute("key", String(), required=True, requires_replace=True),
                Attribute("source", String(), optional=True),
                Attribute("content_type", String(), optional=True, computed=True),
                Attribute("checksum_algorithm", String(), optional=True),
                Attribute("version_id", String(), computed=True),
            ]
        )

    def create(self, ctx: CreateContext, planned: State) -> State:
        body = Path(planned["source"]).read_bytes()
        put = client("s3").put_object(
            Bucket=planned["bucket"],
            Key=planned["key"],
            Body=body,
            ContentType=planned["content_type"],
            ChecksumAlgorithm=planned["checksum_algorithm"],
        )
        return {**planned, "version_id": put.get("VersionId", "")}

    def read(self, ctx: ReadContext, current: State) -> State | None:
        api = client("s3")
        try:
            api.head_object(Bucket=current["bucket"], Key=current["key"])
        except api.exceptions.ClientError:
            return None
        return current

    def update(self, ctx: UpdateContext, current: State, planned: State) -> State:
        return self.create(CreateContext(ctx.diagnostics, ctx.type_name), planned)

    def delete(self, ctx: DeleteContext, current: State) -> None:
        client("s3").delete_object(Bucket=current["bucket"], Key=current["key"])


class CloudformationStack(Resource):
    """Like the aws provider's: only the given parameters of the stack, but all of its tags."""

    def __init__(self, provider: Provider) -> None: ...

    @classmethod
    def get_name(cls) -> str:
        return "cloudformation_stack"

    @classmethod
    def get_schema(cls) -> Schema:
        return Schema(
            [
                Attribute("id", String(), computed=True),
                Attribute("name", String(), required=True, requires_replace=True),
                Attribute("template_body", String(), optional=True, computed=True),
                Attribute("capabilities", Set(String()), optional=True),
                Attribute("iam_role_arn", String(), optional=True),
                Attribute("parameters", Map(String()), optional=True, computed=True),
                Attribute("tags", Map(String()), optional=True),
                Attribute("outputs", Map(String()), computed=True),
            ]
        )

    def plan(self, ctx: PlanContext, current: State | None, planned: State) -> State:
        if current is not None and ctx.changed_fields & {"parameters", "template_body"}:
            planned["outputs"] = Unknown
        return planned

    def create(self, ctx: CreateContext, planned: State) -> State:
        client("cloudformation").create_stack(**_request(planned))
        return self._settled(planned, "stack_create_complete")

    def update(self, ctx: UpdateContext, current: State, planned: State) -> State:
        client("cloudformation").update_stack(**_request(planned))
        return self._settled(planned, "stack_update_complete")

    def _settled(self, planned: State, waiter: str) -> State:
        api = client("cloudformation")
        api.get_waiter(waiter).wait(StackName=planned["name"], WaiterConfig={"Delay": 1, "MaxAttempts": 60})
        return {**planned, **(_stack(planned["name"], planned["parameters"]) or {})}

    def read(self, ctx: ReadContext, current: State) -> State | None:
        stack = _stack(current["name"], current.get("parameters"))
        return None if stack is None else {**current, **stack}

    def delete(self, ctx: DeleteContext, current: State) -> None:
        api = client("cloudformation")
        api.delete_stack(StackName=current["name"])
        api.get_waiter("stack_delete_complete").wait(
            StackName=current["name"], WaiterConfig={"Delay": 1, "MaxAttempts": 60}
        )

    def import_(self, ctx: ImportContext, id: str) -> State | None:
        stack = _stack(id, None)
        return None if stack is None else {"capabilities": None, "iam_role_arn": None, **stack}


def _request(planned: State) -> dict[str, Any]:
    role = {"RoleARN": planned["iam_role_arn"]} if planned["iam_role_arn"] else {}
    return {
        "StackName": planned["name"],
        "TemplateBody": planned["template_body"],
        "Capabilities": planned["capabilities"],
        "Parameters": [{"ParameterKey": k, "ParameterValue": v} for k, v in planned["parameters"].items()],
        "Tags": [{"Key": k, "Value": v} for k, v in planned["tags"].items()],
        **role,
    }


def _stack(name: str, declared: dict[str, str] | None) -> State | None:
    api = client("cloudformation")
    try:
        stack = api.describe_stacks(StackName=name)["Stacks"][0]
    except api.exceptions.ClientError:
        return None
    parameters = {p["ParameterKey"]: p["ParameterValue"] for p in stack.get("Parameters", [])}
    # AWS also returns the stack's role and capabilities; local AWS does not, so they stay unchanged.
    return {
        "id": stack["StackId"],
        "name": stack["StackName"],
        "template_body": api.get_template(StackName=name)["TemplateBody"],
        "parameters": {k: v for k, v in parameters.items() if declared is None or k in declared},
        "tags": {tag["Key"]: tag["Value"] for tag in stack.get("Tags", [])},
        "outputs": {o["OutputKey"]: o["OutputValue"] for o in stack.get("Outputs", [])},
    }


class ArchiveFile(DataSource):
    def __init__(self, provider: Provider) -> None: ...

    @classmethod
    def get_name(cls) -> str:
        return "file"

    @classmethod
    def get_schema(cls) -> Schema:
        source = Block([Attribute("content", String(), required=True), Attribute("filename", String(), required=True)])
        return Schema(
            [
                Attribute("type", String(), required=True),
                Attribute("output_path", String(), required=True),
                Attribute("output_file_mode", String(), optional=True),
            ],
            block_types=[NestedBlock("source", NestMode.Set, source)],
        )

    def read(self, ctx: ReadDataContext, config: State) -> State:
        path = Path(config["output_path"])
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for entry in config["source"]:
                archive.writestr(entry["filename"], entry["content"])
        return config


class LocalProvider(Provider):
    def __init__(self, name: str) -> None:
        self.name = name

    def get_model_prefix(self) -> str:
        return f"{self.name}_"

    def get_provider_schema(self, diags: Diagnostics) -> Schema:
        return Schema([Attribute("skip_credentials_validation", Bool(), optional=True)])

    def full_name(self) -> str:
        return f"registry.terraform.io/hashicorp/{self.name}"

    def validate_config(self, diags: Diagnostics, config: State) -> None: ...

    def configure_provider(self, diags: Diagnostics, config: State) -> None: ...

    def get_data_sources(self) -> list[type[DataSource]]:
        return [ArchiveFile] if self.name == "archive" else [CallerIdentity, Region, ParametersByPath, DynamodbTable]

    def get_resources(self) -> list[type[Resource]]:
        return [] if self.name == "archive" else [S3Object, CloudformationStack]


if __name__ == "__main__":
    # One process for every command: it prints its address for Terraform, and runs until it is stopped.
    run_provider(LocalProvider(sys.argv[1]), ["provider", "--dev"])
