"""Terraform itself, with a copy of the modules, and a stand-in for the provider aws (provider.py)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from infra.local.run.process import LocalAws
from tests.support.machine import REPOSITORY
from tests.terraform.root import PYTHON, Terraform


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    """A separate local AWS, since other tests use the names of the example's tables."""
    with LocalAws(tmp_path_factory.mktemp("terraform-aws") / "server.log") as server:
        yield server


@pytest.fixture(scope="session")
def providers(aws: LocalAws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The two running providers; the environment variable with their addresses."""
    environment = {**_without_aws(), **aws.env(), "HOME": str(tmp_path_factory.mktemp("home"))}
    program = [str(PYTHON), "-u", str(REPOSITORY / "tests" / "terraform" / "provider.py")]
    with ExitStack() as running:
        addresses: dict[str, Any] = {}
        for name in ("aws", "archive"):
            process = subprocess.Popen([*program, name], env=environment, stdout=subprocess.PIPE, text=True)
            running.enter_context(process)
            running.callback(process.kill)
            assert process.stdout is not None
            output = next(line for line in process.stdout if "TF_REATTACH_PROVIDERS" in line)
            addresses |= json.loads(output.split("=", 1)[1].strip().strip("'"))
        yield json.dumps(addresses)


@pytest.fixture(scope="session")
def terraform(providers: str, tmp_path_factory: pytest.TempPathFactory) -> Terraform:
    """Terraform in the folder of the example."""
    root = tmp_path_factory.mktemp("terraform")
    for source in ("infra/terraform", "infra/cloudformation", "plugins/dynalake", "lambda_src"):
        shutil.copytree(REPOSITORY / source, root / source, ignore=shutil.ignore_patterns("__pycache__", ".terraform*"))
    environment = {
        **_without_aws(),
        "HOME": str(root),
        "TF_REATTACH_PROVIDERS": providers,
        "TF_CLI_ARGS": "-no-color",
        "CHECKPOINT_DISABLE": "1",
    }
    return Terraform(root / "infra/terraform/examples/complete", environment)


def _without_aws() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TF_"))}
