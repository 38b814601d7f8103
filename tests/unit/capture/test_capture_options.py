"""A lake's options change only if a run says so; its key never changes."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from botocore.exceptions import ClientError

from dynalake.aws.clients import Clients
from dynalake.capture.lake import options
from dynalake.capture.lake.options import check_key, check_options, try_key
from dynalake.capture.stacks.stacks import StackState
from dynalake.errors import SettingsError
from dynalake.names import Lake
from dynalake.options.lake_options import FORWARDER, STORAGE, LakeOptions

LAKE = Lake("dev", "123456789012", "us-east-1")
ONE, OTHER = (f"arn:aws:kms:us-east-1:123456789012:key/{name}" for name in ("one", "other"))
NOTHING = Clients(lambda service: None)


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return the parameters of both stacks of a lake that is set up."""
    parameters: dict[str, str] = {}

    def state(_: Clients, name: str) -> StackState:
        return StackState(name, status="CREATE_COMPLETE", parameters=parameters)

    monkeypatch.setattr(options, "stack_state", state)
    return parameters


LOOSER: Mapping[str, tuple[str, object]] = {
    "raw_retention_days": ("0", 8),
    "noncurrent_days": ("30", 1),
    "rejected_retention_days": ("0", 1),
    "versioning": ("Enabled", "Suspended"),
    "kms_key_arn": ("", ONE),
    "permissions_boundary_arn": ("arn:aws:iam::123456789012:policy/bound", ""),
    "deploy_role_arn": ("arn:aws:iam::123456789012:role/deploy", "arn:aws:iam::123456789012:role/admin"),
    "alarm_email": ("team@example.org", "eve@example.org"),
    "access_log_bucket": ("logs", ""),
    "errors_alarm_count": ("0", 1_000_000),
    "reserved_concurrency": ("-1", 1),
}


@pytest.mark.parametrize("name", LOOSER)
def test_a_change_of_an_option_must_be_requested_by_name(name: str, deployed: dict[str, str]) -> None:
    """Setting up one more table must not remove history, recovery or the boundary for all tables."""
    deployed_value, requested = LOOSER[name]
    (metadata,) = (f.metadata for f in LakeOptions.described() if f.name == name)
    deployed[metadata["parameter"]] = deployed_value
    lake_options = LakeOptions.parse({name: requested})
    with pytest.raises(SettingsError) as refused:
        check_options(NOTHING, LAKE, lake_options)
    assert f"{name} is {deployed_value!r}, requested is {str(requested)!r}" in str(refused.value)
    assert "update_settings=true" in str(refused.value)
    assert check_options(NOTHING, LAKE, lake_options, update=True) == {name: (deployed_value, str(requested))}


def test_an_option_that_is_equal_or_not_given_is_not_changed(deployed: dict[str, str]) -> None:
    deployed |= {"NoncurrentDays": "7", "Versioning": "Enabled", "MemoryMb": "1024"}
    assert check_options(NOTHING, LAKE, LakeOptions.parse({})) == {}
    assert check_options(NOTHING, LAKE, LakeOptions.parse({"noncurrent_days": 7, "memory_mb": 1024})) == {}


def test_a_new_lake_takes_the_requested_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "stack_state", lambda clients, name: StackState(name))
    lake_options = LakeOptions.parse({"versioning": "Suspended", "kms_key_arn": ONE})
    assert check_options(NOTHING, LAKE, lake_options) == {}


def test_every_option_of_a_stack_is_compared() -> None:
    """An option that is not compared would change without a request."""
    lake_options = LakeOptions.parse({f.name: f.default for f in LakeOptions.described()})
    other = {f.metadata["parameter"]: "another value" for f in LakeOptions.described()}
    changed = lake_options.changed_from({STORAGE: other, FORWARDER: other})
    assert set(changed) == {f.name for f in LakeOptions.described()} - set(lake_options.place)
    assert lake_options.changed_from({STORAGE: {}, FORWARDER: {}}) == {}


@pytest.mark.parametrize("update", [False, True])
@pytest.mark.parametrize("asked", [OTHER, ""])
def test_another_key_is_refused(deployed: dict[str, str], asked: str, update: bool) -> None:
    """Data in transit and stored data could no longer be read."""
    deployed["KmsKeyArn"] = ONE
    with pytest.raises(SettingsError, match=f"has kms_key_arn '{ONE}', but the run requests '{asked}'"):
        check_options(NOTHING, LAKE, LakeOptions.parse({"kms_key_arn": asked}), update=update)
    assert check_options(NOTHING, LAKE, LakeOptions.parse({"kms_key_arn": ONE})) == {}


@pytest.mark.parametrize(
    "arn",
    [
        "arn:aws:kms:us-east-1:999999999999:key/one",
        "arn:aws:kms:eu-west-1:123456789012:key/one",
        "arn:aws:kms:us-east-1:123456789012:alias/one",
        "arn:aws:s3:us-east-1:123456789012:key/one",
        "alias/one",
        f"{ONE}/*",
        "*",
    ],
)
def test_the_key_must_be_in_the_account_and_region_of_the_lake(arn: str) -> None:
    """https://docs.aws.amazon.com/kms/latest/developerguide/concepts.html#key-id-key-ARN"""
    with pytest.raises(SettingsError, match="key of the lake's own account and region"):
        check_key(LAKE, arn)
    check_key(LAKE, ONE)
    check_key(Lake("dev", "123456789012", "cn-north-1"), "arn:aws-cn:kms:cn-north-1:123456789012:key/mrk-1")


@pytest.mark.parametrize(
    ("code", "usable"),
    [
        ("DryRunOperationException", True),
        ("AccessDeniedException", False),
        ("NotFoundException", False),
        ("DisabledException", False),
    ],
)
def test_a_key_is_tested_before_anything_is_encrypted_with_it(code: str, usable: bool) -> None:
    """KMS answers what it would do: https://docs.aws.amazon.com/kms/latest/developerguide/testing-permissions.html"""

    class Kms:
        def generate_data_key(self, **request: object) -> None:
            assert request == {"KeyId": ONE, "KeySpec": "AES_256", "DryRun": True}
            raise ClientError({"Error": {"Code": code, "Message": "so"}}, "GenerateDataKey")

    clients = Clients(lambda service: Kms())
    if usable:
        try_key(clients, ONE)
        return
    with pytest.raises(SettingsError, match=rf"{ONE} cannot be used: {code} so.*airflow.yaml with KmsKeyArn first"):
        try_key(clients, ONE)
