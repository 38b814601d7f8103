"""Terraform itself, with a copy of the modules, and a stand-in for the provider aws (provider.py)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from infra.local.run.process import LocalAws
from tests.conftest import REPOSITORY

PYTHON = REPOSITORY / ".venv-terraform" / "bin" / "python"
NO_CHANGES, FAILED, CHANGES = 0, 1, 2
"""Exit codes of `plan -detailed-exitcode`."""


@dataclass(frozen=True)
class Terraform:
    """A root module's folder in a copy of the sources, and the environment with the providers."""

    folder: Path
    environment: Mapping[str, str]

    def run(self, command: str, *arguments: str, codes: tuple[int, ...] = (0,)) -> subprocess.CompletedProcess[str]:
        process = subprocess.run(
            [PYTHON, REPOSITORY / "tests" / "terraform" / "cli.py", command, *arguments],
            cwd=self.folder,
            env=dict(self.environment),
            capture_output=True,
            text=True,
            check=False,
        )
        assert process.returncode in codes, process.stdout + process.stderr
        return process

    def plan(self, *arguments: str) -> int:
        """Plan, and return `NO_CHANGES` or `CHANGES`."""
        return self.run("plan", "-input=false", "-detailed-exitcode", *arguments, codes=(0, 2)).returncode

    def refused(self, *arguments: str) -> str:
        """Return the output of a plan that must fail."""
        output = self.run("plan", "-input=false", *arguments, codes=(FAILED,))
        # Terraform draws a frame and breaks lines.
        return " ".join(output.stderr.replace("│", " ").split())

    def planned(self, *arguments: str) -> dict[str, dict[str, Any]]:
        """Return the planned values of every resource by its address."""
        self.run("plan", "-input=false", "-out=plan", *arguments)
        module = json.loads(self.run("show", "-json", "plan").stdout)["planned_values"]["root_module"]
        return {r["address"]: r["values"] for child in module.get("child_modules", []) for r in child["resources"]}

    def changed(self, address: str) -> set[str]:
        """Return the changes that a plan would make in a resource."""
        self.run("plan", "-input=false", "-out=plan")
        for resource in json.loads(self.run("show", "-json", "plan").stdout)["resource_changes"]:
            if resource["address"] == address:
                before, after = resource["change"]["before"], resource["change"]["after"]
                return {name for name in {*before, *after} if before.get(name) != after.get(name)}
        raise AssertionError(f"{address} is not in the plan")

    def apply(self) -> None:
        self.run("apply", "-input=false", "-auto-approve")

    def outputs(self) -> dict[str, Any]:
        return {name: output["value"] for name, output in json.loads(self.run("output", "-json").stdout).items()}


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
