"""Each bundle of `make bundle` is all that a fresh Airflow needs: its DAGs and its plugins folder, and nothing else."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.bundle.bundle import MWAA_CONSTRAINTS, MWAA_VERSIONS, PLACES, write_bundle
from tests.support.machine import REPOSITORY

SCRIPT = """
import json, os, sys
folder = os.environ["AIRFLOW__CORE__DAGS_FOLDER"]
import airflow.settings
airflow.settings.initialize()
from airflow import plugins_manager
try:
    from airflow.dag_processing.dagbag import DagBag
    bag = DagBag(folder, bundle_name="dags-folder", bundle_path=folder)
except ImportError:  # Airflow 3.1
    from airflow.models.dagbag import DagBag
    bag = DagBag(folder, bundle_path=folder)
(getattr(plugins_manager, "ensure_plugins_loaded", None) or plugins_manager.get_import_errors)()
plugins = plugins_manager.plugins if getattr(plugins_manager, "plugins", None) else plugins_manager._get_plugins()[0]
from dynalake.capture.stacks.package import build_package
from dynalake.capture.stacks.specs import template_folder
from dynalake.names import Lake
print(json.dumps({
    "dags": sorted(bag.dags),
    "errors": list(bag.import_errors.values()),
    "plugins": [plugin.name for plugin in plugins],
    "package": build_package(Lake("test", "123456789012", "eu-west-1")).key,
    "templates": sorted(path.name for path in template_folder().iterdir()),
    "loose": sorted({
        name for name, module in sys.modules.items()
        if (getattr(module, "__file__", None) or "").startswith(os.environ["AIRFLOW__CORE__PLUGINS_FOLDER"])
        and name.partition(".")[0] != "dynalake"
    }),
    "modules": sorted({
        str(module.__file__) for name, module in sys.modules.items()
        if name.partition(".")[0] in ("dynalake", "forwarder", "infra", "tests") and getattr(module, "__file__", None)
    }),
}))
"""


def load(folder: Path, environment: dict[str, str]) -> dict[str, Any]:
    """Return what an Airflow finds whose home is the folder, and to which nothing of this repository is known."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "DYNALAKE"))}
    inherited.pop("PYTHONPATH", None)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={
            **inherited,
            "AIRFLOW_HOME": str(folder),
            "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(folder / "plugins"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            **environment,
        },
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    loaded: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return loaded


def environment_of(place: str, folder: Path) -> dict[str, str]:
    """Return the variables that the bundle's own file sets."""
    if place == "mwaa":
        printed = subprocess.run(
            ["bash", "-c", f"set -a; . {shlex.quote(str(folder / 'startup.sh'))}; env -0"],
            env={},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        return dict(line.split("=", 1) for line in printed.split("\0") if line.startswith(("DYNALAKE", "AIRFLOW")))
    if place == "helm":
        values = yaml.safe_load((folder / "values.yaml").read_text())
        return {entry["name"]: entry["value"] for entry in values["env"]}
    return {
        name: shlex.split(value)[0]
        for name, value in re.findall(r"^ENV (\w+)=(.+)$", (folder / "Dockerfile").read_text(), re.MULTILINE)
    }


@pytest.mark.parametrize("place", PLACES)
def test_a_bundle_is_all_that_a_fresh_airflow_needs(place: str, tmp_path: Path) -> None:
    folder = write_bundle(place, tmp_path / place)
    if place == "mwaa":
        with zipfile.ZipFile(folder / "plugins.zip") as archive:
            archive.extractall(folder / "plugins")
    environment = environment_of(place, folder)
    assert json.loads(environment["DYNALAKE_LAKES"]) == {"prod": {"connection": "dynalake_prod"}}
    connection = environment.get("AIRFLOW_CONN_DYNALAKE_PROD", '{"conn_type": "aws"}')  # Astronomer keeps it elsewhere
    assert json.loads(connection)["conn_type"] == "aws"
    loaded = load(folder, environment)
    assert loaded["errors"] == []
    dags = {path.stem for path in (REPOSITORY / "dags").glob("dynalake_*.py")} - {"dynalake_lakes"}
    assert {*loaded["dags"]} == dags
    assert "dynalake" in loaded["plugins"]
    assert loaded["templates"] == sorted(path.name for path in (REPOSITORY / "infra/cloudformation").iterdir())
    assert loaded["package"].startswith("dynalake-code/forwarder-")
    assert loaded["loose"] == ["airflow_plugin"], ".airflowignore keeps Airflow from the other modules"
    assert len(loaded["modules"]) > 10
    assert [name for name in loaded["modules"] if not name.startswith(str(folder))] == []


def pins(text: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9._-]+)(?:\[.*\])?==(\S+?)(?: \\)?$", text, re.MULTILINE))


@pytest.mark.parametrize("version", MWAA_VERSIONS)
def test_mwaa_installs_exactly_what_its_constraints_say(version: str, tmp_path: Path) -> None:
    folder = write_bundle("mwaa", tmp_path / "mwaa", version)
    constraints = pins((folder / "dags" / MWAA_CONSTRAINTS).read_text())
    assert constraints["apache-airflow"] == version
    requirements = (folder / "requirements.txt").read_text()
    asked = pins(requirements)
    assert {name: constraints[name] for name in asked} == asked
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    direct = {re.split(r"[\[=<>]", dependency)[0] for dependency in project["dependencies"]}
    assert {*asked} == direct - {"apache-airflow"}
    # MWAA adds Airflow's constraints, with which pyiceberg cannot be installed, unless it finds this text in a line.
    assert f'--constraint "/usr/local/airflow/dags/{MWAA_CONSTRAINTS}"' in requirements.splitlines()
    assert f"pyiceberg=={constraints['pyiceberg']}" in " ".join(project["dependencies"]).replace("[glue]", "")
