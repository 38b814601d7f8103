"""dynalake's own code as Spark loads it: an archive for `--extra-py-files` or `--py-files`, and the job's script."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import dynalake
from dynalake.aws.clients import Clients
from dynalake.capture.lake.registry import load_lake
from dynalake.capture.stacks.package import Package, archive_files, upload_package
from dynalake.names import Lake

_SCRIPT = Path(__file__).with_name("job.py")
_LEFT_OUT = ("operators", "ui", "airflow_plugin.py", "bundled")


def build_spark_package(lake: Lake) -> Package:
    """Return the package without what needs Airflow; its key names its content."""
    root = Path(dynalake.__file__).parent
    paths = [p for p in sorted(root.rglob("*.py")) if p.relative_to(root).parts[0] not in _LEFT_OUT]
    body = archive_files({p.relative_to(root.parent).as_posix(): p.read_bytes() for p in paths})
    return Package(f"{lake.code_prefix}dynalake-{hashlib.sha256(body).hexdigest()[:16]}.zip", body)


def upload_spark_package(clients: Clients, lake: Lake) -> Package:
    """Put the archive and the script into the lake's bucket, unless the same bytes are there.

    Glue loads both by their keys, so this comes right before each run.
    """
    package = build_spark_package(lake)
    upload_package(clients, lake, package)
    upload_package(clients, lake, Package(lake.spark_script, _SCRIPT.read_bytes(), "text/x-python"))
    return package


def main() -> None:
    """Upload this machine's code for runs that are started by hand, and print where it is."""
    parser = argparse.ArgumentParser(prog="python -m dynalake.spark.package", description=main.__doc__)
    parser.add_argument("--region", required=True)
    parser.add_argument("--environment", required=True)
    options = parser.parse_args()
    clients = Clients.in_region(options.region)
    lake = load_lake(clients, options.environment)
    package = upload_spark_package(clients, lake)
    print(f"s3://{lake.bucket}/{package.key}\ns3://{lake.bucket}/{lake.spark_script}")


if __name__ == "__main__":
    main()
