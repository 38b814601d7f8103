"""The folder that one place takes: DAGs, the plugins folder, requirements, and the place's own files."""

from __future__ import annotations

import re
import shutil
import tomllib
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
REQUIREMENTS = REPOSITORY / "requirements"

PLACES = ("mwaa", "astronomer", "helm")

MWAA_VERSIONS = tuple(
    sorted(
        (path.stem.removeprefix("mwaa-") for path in REQUIREMENTS.glob("mwaa-*.txt")),
        key=lambda version: [int(part) for part in version.split(".")],
    )
)
"""The versions of Airflow on Amazon MWAA that have a file of requirements, the newest last."""

MWAA_CONSTRAINTS = "dynalake-constraints.txt"
"""MWAA takes a file of constraints of one's own from the DAGs folder.

https://docs.aws.amazon.com/mwaa/latest/userguide/connections-packages.html
"""

_PINNED = re.compile(r"^([a-z0-9.-]+)==([^\s;\\]+)", re.MULTILINE)


def write_bundle(place: str, folder: Path, airflow: str = MWAA_VERSIONS[-1]) -> Path:
    """Write the bundle for one of `PLACES`, in place of an earlier one, and return its folder.

    `airflow` is the version on Amazon MWAA; the other places choose theirs in their Dockerfile.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    dags = folder / "dags"
    dags.mkdir()
    for path in sorted((REPOSITORY / "dags").glob("*.py")):
        shutil.copy(path, dags)
    for path in sorted((REPOSITORY / "infra" / "bundle" / place).iterdir()):
        shutil.copy(path, folder)
    plugins = folder / "plugins"
    _write_plugins(plugins)
    if place == "mwaa":
        locked = (REQUIREMENTS / f"mwaa-{airflow}.txt").read_text()
        (dags / MWAA_CONSTRAINTS).write_text(locked)
        constraint = f'--constraint "/usr/local/airflow/dags/{MWAA_CONSTRAINTS}"\n'
        (folder / "requirements.txt").write_text(
            f"# For Airflow {airflow} on Amazon MWAA.\n{constraint}{_direct(locked)}"
        )
        _pack(plugins, folder / "plugins.zip")
        shutil.rmtree(plugins)
    elif place == "astronomer":
        # The image has its own Airflow. Astronomer's build needs both files.
        (folder / "requirements.txt").write_text(_direct((REPOSITORY / "requirements.txt").read_text()))
        (folder / "packages.txt").touch()
    else:
        shutil.copy(REPOSITORY / "requirements.txt", folder)
    return folder


def _write_plugins(folder: Path) -> None:
    """Write a plugins folder with everything that the wheel has, and where the wheel has it."""
    wheel = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    shutil.copytree(REPOSITORY / "plugins", folder, ignore=shutil.ignore_patterns("__pycache__"))
    for source, target in wheel["force-include"].items():
        shutil.copytree(REPOSITORY / source, folder / target, ignore=shutil.ignore_patterns("__pycache__"))


def _direct(locked: str) -> str:
    """Return dynalake's own dependencies, one a line and in the locked versions, without Airflow itself (pure)."""
    pins = dict(_PINNED.findall(locked))
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    names = [re.split(r"[=<>]", dependency)[0] for dependency in project["dependencies"]]
    return "".join(f"{name}=={pins[name.split('[')[0]]}\n" for name in names if name != "apache-airflow")


def _pack(folder: Path, archive: Path) -> None:
    """Zip a folder's content, without the folder, as MWAA unpacks it into `/usr/local/airflow/plugins`."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                packed.write(path, path.relative_to(folder))
