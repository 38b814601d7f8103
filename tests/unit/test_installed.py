"""dynalake as an installed package gives Airflow the same as the plugins folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.support.machine import REPOSITORY

pytestmark = pytest.mark.slow

SCRIPT = """
import json, sys
from airflow import plugins_manager
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization
from dynalake.capture.stacks.package import build_package
from dynalake.capture.stacks.specs import template_folder
from dynalake.names import Lake
bag = DagBag(sys.argv[1], bundle_name="dags-folder", bundle_path=sys.argv[1])
plugins, errors = plugins_manager._get_plugins()
print(json.dumps({
    "dags": {name: DagSerialization.to_dict(dag) for name, dag in bag.dags.items()},
    "errors": [*bag.import_errors.values(), *errors.values()],
    "plugins": [plugin.name for plugin in plugins],
    "package": build_package(Lake("test", "123456789012", "eu-west-1")).key,
    "templates": sorted(path.name for path in template_folder().iterdir()),
}))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's content: what an installation puts into site-packages."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def load(home: Path, dags: Path, path: Path, plugins: Path) -> dict[str, Any]:
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(plugins),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "PYTHONPATH": str(path),
        "PYTHONHASHSEED": "0",
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(dags)],
        env=environment,
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    loaded: dict[str, Any] = json.loads(done.stdout.splitlines()[-1].replace(str(dags), "dags"))
    return loaded


def test_the_installed_package_equals_the_plugins_folder(installed: Path, tmp_path: Path) -> None:
    empty = tmp_path / "plugins"
    empty.mkdir()
    here = load(tmp_path, REPOSITORY / "dags", REPOSITORY / "plugins", REPOSITORY / "plugins")
    bundled = load(tmp_path, installed / "dynalake" / "bundled" / "dags", installed, empty)
    assert here == bundled
    assert here["errors"] == []
    assert "dynalake" in here["plugins"]
    files = {path.stem for path in (REPOSITORY / "dags").glob("dynalake_*.py")}
    assert {*here["dags"]} == files - {"dynalake_lakes"}
