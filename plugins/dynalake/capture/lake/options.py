"""Whether a setup may change the values of the lake's options."""

from __future__ import annotations

import re

from dynalake.aws.answers import code_of, message_of
from dynalake.aws.clients import Clients
from dynalake.capture.stacks.stacks import stack_state
from dynalake.errors import SettingsError
from dynalake.names import Lake
from dynalake.options.lake_options import FORWARDER, STORAGE, LakeOptions

_KEY_ARN = re.compile(r"arn:aws[a-z-]*:kms:(?P<region>[a-z0-9-]+):(?P<account>\d{12}):key/[a-zA-Z0-9-]+")

Changes = dict[str, tuple[str, str]]
"""Options by name: the lake's value, and the requested one."""


def check_options(clients: Clients, lake: Lake, options: LakeOptions, *, update: bool = False) -> Changes:
    """Return the given options that differ from the lake's; none for a lake that is not set up.

    An option belongs to all tables, and some delete data: so a setup of one more table must ask for the change
    (`update`). Raises `SettingsError` without that, and for a KMS key that the lake cannot have.
    """
    states = {STORAGE: stack_state(clients, lake.storage_stack), FORWARDER: stack_state(clients, lake.forwarder_stack)}
    changed = options.changed_from({stack: state.parameters for stack, state in states.items() if state.exists})
    if options.kms_key_arn:
        check_key(lake, options.kms_key_arn)
    present, requested = changed.get("kms_key_arn", ("", ""))
    if present:
        raise SettingsError(
            f"The lake {lake.environment!r} has kms_key_arn {present!r}, but the run requests {requested!r}",
            allowed="the key that it has: data under way and in the bucket is encrypted with it",
            action="leave kms_key_arn empty, or set up another environment",
            environment=lake.environment,
        )
    if changed and not update:
        listed = "; ".join(f"{name} is {old!r}, requested is {new!r}" for name, (old, new) in changed.items())
        raise SettingsError(
            f"The lake {lake.environment!r} is already set up with other options: {listed}",
            allowed="the options that it has, or a run that may change them for all its tables",
            action="leave them empty, or trigger the DAG again with update_settings=true to change them",
            environment=lake.environment,
        )
    return changed


def check_key(lake: Lake, arn: str) -> None:
    """Raise `SettingsError` unless the ARN is that of a KMS key in the lake's account and region (pure)."""
    key = _KEY_ARN.fullmatch(arn)
    if key is None or (key["account"], key["region"]) != (lake.account, lake.region):
        raise SettingsError(
            f"kms_key_arn is {arn!r}",
            allowed=f"a key of the lake's own account and region, arn:aws:kms:{lake.region}:{lake.account}:key/…",
            action="give the ARN of such a key, not of an alias; a key of another account could be taken away",
            environment=lake.environment,
        )


def try_key(clients: Clients, arn: str) -> None:
    """Raise `SettingsError` unless the DAGs' role may encrypt with the key: without that no task could write.

    A dry run only asks KMS: https://docs.aws.amazon.com/kms/latest/developerguide/testing-permissions.html
    """
    try:
        clients.kms.generate_data_key(KeyId=arn, KeySpec="AES_256", DryRun=True)
    except Exception as error:
        code = code_of(error)
        if code == "DryRunOperationException":
            return
        if not code:
            raise
        raise SettingsError(
            f"The key {arn} cannot be used: {code} {message_of(error)}",
            allowed="an enabled symmetric key that the DAGs' role may encrypt with",
            action="update the stack of infra/cloudformation/airflow.yaml with KmsKeyArn first; check the key's policy",
        ) from error
