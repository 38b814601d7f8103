"""Terraform in a folder of its own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.machine import REPOSITORY

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
