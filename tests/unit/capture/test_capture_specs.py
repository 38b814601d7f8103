"""The specification of each stack, compared with the templates."""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace
from pathlib import Path

import pytest
from cfnlint.decode import cfn_yaml

from dynalake.capture.source.source import Source
from dynalake.capture.stacks.package import Code
from dynalake.capture.stacks.specs import (
    declared_parameters,
    forwarder_spec,
    planned_forwarder,
    planned_storage,
    storage_spec,
    table_spec,
    template_folder,
)
from dynalake.errors import SettingsError
from dynalake.names import Lake
from dynalake.options.lake_options import LakeOptions
from dynalake.options.settings import TableSettings
from dynalake.record.key import ItemKey, KeyAttribute
from tests.support.machine import REPOSITORY

LAKE = Lake("dev", "123456789012", "eu-west-1")
NAMES = LAKE.table("RECEIPTS")
ARN = "arn:aws:dynamodb:eu-west-1:123456789012:table/RECEIPTS"
SOURCE = Source(
    "RECEIPTS",
    ARN,
    "table-1",
    f"{ARN}/stream/1",
    "NEW_IMAGE",
    ItemKey(KeyAttribute("id", "S")),
    False,
    "PAY_PER_REQUEST",
    0,
    0,
)
STORAGE, FORWARDER = planned_storage(LAKE, "aws"), planned_forwarder(LAKE, "aws")
CODE = Code("code.zip", "v1")
TEMPLATES = ("storage", "forwarder", "table")


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_declared_parameters_are_those_of_the_template(name: str) -> None:
    text = (template_folder() / f"{name}.yaml").read_text()
    assert declared_parameters(text) == tuple(cfn_yaml.loads(text)["Parameters"])


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_parameter_is_described_and_the_name_of_a_role_includes_the_lake(name: str) -> None:
    template = cfn_yaml.loads((template_folder() / f"{name}.yaml").read_text())
    assert all(parameter.get("Description") for parameter in template["Parameters"].values())
    # Role names are unique in the account, across regions; 64 characters with the longest of both.
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::IAM::Role":
            role = resource["Properties"]["RoleName"]["Fn::Sub"]
            assert role.startswith("dynalake-${Environment}-${AWS::Region}-")
            assert len(role.replace("${Environment}", "e" * 16).replace("${AWS::Region}", "r" * 20)) <= 64


def test_a_plan_has_the_partition_of_its_table() -> None:
    source = replace(SOURCE, arn=ARN.replace("arn:aws:", "arn:aws-cn:"))
    planned = {**planned_storage(LAKE, source.partition), **planned_forwarder(LAKE, source.partition)}
    assert {value.partition(":")[2][:7] for value in planned.values() if value.startswith("arn:")} == {"aws-cn:"}


def test_every_setting_reaches_the_table_stack() -> None:
    settings = TableSettings("RECEIPTS", shards=3, max_record_kb=500, updated_at_attribute="changed")
    spec = table_spec(NAMES, settings, SOURCE, STORAGE, FORWARDER)
    stored = json.loads(spec.parameters["SettingsJson"])
    for setting in fields(TableSettings):
        value = getattr(settings, setting.name)
        assert stored[setting.name] == value
        parameter = "".join(part.capitalize() for part in setting.name.split("_"))
        if parameter in spec.declared:
            assert spec.parameters[parameter] == str(value)
    assert spec.parameters["TableStreamArn"] == SOURCE.stream_arn
    assert spec.tags == {"dynalake:environment": "dev", "dynalake:table": "RECEIPTS"}


def test_a_stream_keeps_its_shards_unless_a_number_is_chosen() -> None:
    own = TableSettings("RECEIPTS")
    assert "Shards" not in table_spec(NAMES, own, SOURCE, STORAGE, FORWARDER).parameters
    assert table_spec(NAMES, own, SOURCE, STORAGE, FORWARDER, shards=4).parameters["Shards"] == "4"
    direct = table_spec(NAMES, TableSettings("RECEIPTS", delivery="direct"), SOURCE, STORAGE, FORWARDER).parameters
    assert not direct.keys() & {"Shards", "StreamMode"}


def test_the_defaults_of_the_template_are_those_of_the_settings() -> None:
    template = cfn_yaml.loads((template_folder() / "table.yaml").read_text())
    for setting in fields(TableSettings):
        parameter = template["Parameters"].get("".join(part.capitalize() for part in setting.name.split("_")))
        # A form's 0 shards mean as many as the peak needs; a template has no metrics, and says one.
        if parameter and setting.name not in ("table", "shards"):
            assert parameter["Default"] == setting.default, setting.name
            assert parameter.get("MinValue") == setting.metadata["minimum"], setting.name


def test_every_stack_is_tagged_with_its_lake_and_table_for_costs() -> None:
    """CloudFormation passes a stack's tags on to all taggable resources; the docs say how to set them by hand."""
    specs = {
        "storage": storage_spec(LAKE, create_bucket=True),
        "forwarder": forwarder_spec(LAKE, STORAGE, CODE),
        "table": table_spec(NAMES, TableSettings("RECEIPTS"), SOURCE, STORAGE, FORWARDER),
    }
    lake = {"dynalake:environment": "dev"}
    assert {name: dict(spec.tags) for name, spec in specs.items()} == {
        "storage": lake,
        "forwarder": lake,
        "table": {**lake, "dynalake:table": "RECEIPTS"},
    }
    by_hand = {path.stem for path in template_folder().glob("*.yaml")} - set(specs)
    pages = "".join(page.read_text() for page in (REPOSITORY / "docs").glob("*.md"))
    for name in by_hand:
        command = pages.split(f"--template-file infra/cloudformation/{name}.yaml")[1].split("```")[0]
        assert "--tags dynalake:environment=prod" in command, name
    for module in (REPOSITORY / "infra" / "terraform" / "modules").iterdir():
        assert re.search(
            r'^  tags = merge\(var.tags, { "dynalake:environment" = ', (module / "main.tf").read_text(), re.M
        )


def test_old_versions_of_temporary_state_and_delete_markers_are_removed() -> None:
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/intro-lifecycle-rules.html"""
    template = cfn_yaml.loads((template_folder() / "storage.yaml").read_text())
    rules = {
        rule["Id"]: rule for rule in template["Resources"]["Bucket"]["Properties"]["LifecycleConfiguration"]["Rules"]
    }
    passing = rules["passing-versions"]
    assert passing["Prefix"] == {"Fn::Sub": "${Prefix}-state/_/"}
    assert NAMES.lake.passing_prefix == "dynamodb-state/_/"
    assert passing["NoncurrentVersionExpiration"] == {"NoncurrentDays": 1}
    assert "ExpirationInDays" not in passing, "existing objects are needed"
    for key in (NAMES.export_prefix("r"), NAMES.conversions, NAMES.watch_state, NAMES.redrive_state("r")):
        assert key.startswith(NAMES.lake.passing_prefix)
    for key in (NAMES.hand_off, NAMES.folder_manifests, NAMES.snapshot_runs, NAMES.backfill_states):
        assert not key.startswith(NAMES.lake.passing_prefix), "objects that cannot be created again keep their versions"
    with pytest.raises(SettingsError):
        LAKE.table("_")
    assert rules["superseded-versions"]["ExpiredObjectDeleteMarker"] is True
    assert "Prefix" not in rules["superseded-versions"], "markers of the whole bucket"
    assert rules["incomplete-uploads"]["AbortIncompleteMultipartUpload"]


def test_only_the_given_options_are_set() -> None:
    spec = storage_spec(LAKE, create_bucket=False, options=LakeOptions.parse({"raw_retention_days": 400}))
    assert (spec.parameters["RawRetentionDays"], spec.parameters["CreateBucket"]) == ("400", "false")
    assert "NoncurrentDays" not in spec.parameters
    options = LakeOptions.parse({"memory_mb": 1024, "deploy_role_arn": "arn:role", "alarm_email": None})
    storage = {**STORAGE, "DeployRoleArn": "arn:role"}
    specs = [
        storage_spec(LAKE, create_bucket=True, options=options),
        forwarder_spec(LAKE, storage, CODE, options),
        table_spec(NAMES, TableSettings("RECEIPTS"), SOURCE, storage, FORWARDER),
    ]
    assert [one.role_arn for one in specs] == ["arn:role"] * 3
    assert specs[1].parameters["MemoryMb"] == "1024"
    assert "AlarmEmail" not in specs[0].parameters


def test_every_option_is_a_parameter_with_the_same_default_and_limits() -> None:
    declared: dict[str, set[str]] = {}
    for section, name in (("Storage", "storage"), ("Forwarder", "forwarder")):
        template = cfn_yaml.loads((template_folder() / f"{name}.yaml").read_text())["Parameters"]
        options = [f for f in LakeOptions.described() if f.metadata["section"] == section]
        for option in options:
            parameter = template[option.metadata["parameter"]]
            assert parameter["Default"] == option.default, option.name
            assert parameter.get("MinValue") == option.metadata["minimum"], option.name
            if "AllowedValues" in parameter:
                assert set(parameter["AllowedValues"]) == set(option.metadata["choices"]), option.name
        declared[name] = {n for n, p in template.items() if "Default" in p} - {o.metadata["parameter"] for o in options}
    # The others have a default and are not options: they come from the lake or from the storage stack.
    assert declared == {
        "storage": {"CreateBucket"},
        "forwarder": {"CodeVersion", "KmsKeyArn", "PermissionsBoundaryArn"},
    }


def test_every_parameter_of_a_table_with_a_default_is_a_setting() -> None:
    template = cfn_yaml.loads((template_folder() / "table.yaml").read_text())["Parameters"]
    settings = {"".join(part.capitalize() for part in f.name.split("_")) for f in fields(TableSettings)}
    left = {name for name, parameter in template.items() if "Default" in parameter} - settings
    # The lake's key; values that setup finds out.
    assert left == {"KmsKeyArn", "Beside", "MappingEnabled"}


def test_an_error_names_options_that_are_not_allowed() -> None:
    with pytest.raises(SettingsError) as caught:
        LakeOptions.parse({"memory_mb": 1, "colour": "blue", "architecture": "mips"})
    message = str(caught.value)
    for part in ("'memory_mb' is 1", "from 128 to 10240", "there is no option 'colour'", "arm64, x86_64"):
        assert part in message


def test_raw_objects_are_kept_for_as_long_as_conversions_list_them() -> None:
    with pytest.raises(SettingsError, match="'raw_retention_days' is 7, fewer than 8"):
        LakeOptions.parse({"raw_retention_days": 7})
    assert [LakeOptions.parse({"raw_retention_days": n}).raw_retention_days for n in (0, 8)] == [0, 8]


def test_the_location_of_the_lake_is_not_among_the_parameters_of_its_options() -> None:
    options = LakeOptions.parse({"bucket": "mine", "prefix": "lake/raw", "time_zone": "Asia/Tokyo", "memory_mb": 128})
    assert options.place == {"bucket": "mine", "prefix": "lake/raw", "time_zone": "Asia/Tokyo"}
    assert options.storage == {}
    assert LakeOptions.parse({"prefix": None}).place == {}
    with pytest.raises(SettingsError, match="prefix is '/lake/'"):
        LakeOptions.parse({"prefix": "/lake/"})
    with pytest.raises(SettingsError, match="time_zone is 'Berlin'"):
        LakeOptions.parse({"time_zone": "Berlin"})


def test_the_prefix_and_the_time_zone_reach_every_stack() -> None:
    lake = replace(LAKE, prefix="lake/raw", time_zone="Asia/Tokyo")
    table = table_spec(lake.table("RECEIPTS"), TableSettings("RECEIPTS"), SOURCE, STORAGE, FORWARDER)
    assert table.parameters["RawPrefix"] == "lake/raw/json/RECEIPTS/"
    assert table.parameters["RejectedPrefix"] == "lake/raw-errors/delivery/RECEIPTS/"
    for spec in (storage_spec(lake, create_bucket=True), forwarder_spec(lake, STORAGE, CODE)):
        assert spec.parameters["Prefix"] == "lake/raw"
    for spec in (storage_spec(lake, create_bucket=True), forwarder_spec(lake, STORAGE, CODE), table):
        assert spec.parameters["TimeZone"] == "Asia/Tokyo"


@pytest.mark.parametrize("name", [*TEMPLATES, "airflow"])
def test_no_template_names_the_default_prefix_itself(name: str) -> None:
    text = (template_folder() / f"{name}.yaml").read_text()
    assert not re.findall(r"dynamodb(?:/|-errors|-state)", re.sub(r"https?://\S+", "", text))


def test_a_key_of_the_lake_reaches_every_stack() -> None:
    storage = {**STORAGE, "KmsKeyArn": "arn:aws:kms:eu-west-1:123456789012:key/1"}
    specs = [
        forwarder_spec(LAKE, storage, CODE),
        table_spec(NAMES, TableSettings("RECEIPTS"), SOURCE, storage, FORWARDER),
    ]
    assert [spec.parameters["KmsKeyArn"] for spec in specs] == [storage["KmsKeyArn"]] * 2


def test_an_error_names_a_missing_template_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DYNALAKE_TEMPLATES", str(tmp_path))
    with pytest.raises(SettingsError, match=re.escape(str(tmp_path))):
        storage_spec(LAKE, create_bucket=True)


def test_the_longest_names_fit() -> None:
    names = Lake("e" * 16, "123456789012", "eu-west-1").table("T" * 255)
    spec = table_spec(names, TableSettings("T" * 255), SOURCE, STORAGE, FORWARDER)
    assert len(spec.parameters["DeliveryStreamName"]) <= 64
    assert len(spec.parameters["DirectDeliveryStreamName"]) <= 64
    assert len(spec.parameters["StreamName"]) <= 128
    assert len(spec.parameters["SettingsJson"]) <= 4096
    assert len(spec.name) <= 128


def test_no_arn_of_a_template_is_tied_to_one_partition() -> None:
    for path in template_folder().glob("*.yaml"):
        assert not re.findall(r"arn:aws[:-]", path.read_text()), path.name


def test_lake_formation_is_left_alone_unless_requested() -> None:
    """Then the DAGs are granted their actions, also on tables that do not exist yet."""
    resources = cfn_yaml.loads((template_folder() / "storage.yaml").read_text())["Resources"]
    grants = {n: r for n, r in resources.items() if r["Type"] == "AWS::LakeFormation::PrincipalPermissions"}
    assert {name: grant["Condition"] for name, grant in grants.items()} == {
        "WriterOfDatabase": "HasWriter",
        "WriterOfTables": "HasWriter",
        "ReaderOfDatabase": "HasReader",
        "ReaderOfTables": "HasReader",
    }
    permissions = {name: set(grant["Properties"]["Permissions"]) for name, grant in grants.items()}
    assert {"CREATE_TABLE", "DESCRIBE"} <= permissions["WriterOfDatabase"]
    assert {"ALTER", "DESCRIBE", "DROP", "SELECT"} <= permissions["WriterOfTables"]
    assert (permissions["ReaderOfDatabase"], permissions["ReaderOfTables"]) == ({"DESCRIBE"}, {"DESCRIBE", "SELECT"})
    for name in ("WriterOfTables", "ReaderOfTables"):
        assert grants[name]["Properties"]["Resource"]["Table"]["TableWildcard"] == {}
    assert not any(grant["Properties"]["PermissionsWithGrantOption"] for grant in grants.values())
    options = LakeOptions.parse({"lake_formation_writer_arn": "arn:dags"})
    assert storage_spec(LAKE, create_bucket=True, options=options).parameters["LakeFormationWriterArn"] == "arn:dags"


def test_writers_may_use_a_key_before_the_bucket_requires_it() -> None:
    """A lake may get its key later. The forwarder's stack is updated after the storage's."""
    storage = cfn_yaml.loads((template_folder() / "storage.yaml").read_text())["Resources"]
    assert storage["Bucket"]["DependsOn"] == "FirehoseRole"
    forwarder = cfn_yaml.loads((template_folder() / "forwarder.yaml").read_text())["Resources"]
    (policy,) = forwarder["Role"]["Properties"]["Policies"]
    (grant,) = [s for s in policy["PolicyDocument"]["Statement"] if s.get("Sid") == "BucketKeys"]
    assert grant["Action"] == "kms:GenerateDataKey"
    assert grant["Condition"]["StringLike"]["kms:ViaService"] == {"Fn::Sub": "s3.${AWS::Region}.amazonaws.com*"}


def test_the_lake_records_its_key() -> None:
    value = cfn_yaml.loads((template_folder() / "storage.yaml").read_text())["Resources"]["Lake"]["Properties"]["Value"]
    assert json.loads(value["Fn::Sub"].replace("${RawRetentionDays}", "0"))["kms_key_arn"] == "${KmsKeyArn}"
