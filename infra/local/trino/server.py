"""Run one Trino on local AWS, as a child process (standard library only)."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from infra.local.aws.door import authorization
from infra.local.run.child import ChildServer
from infra.local.trino.jars import REPOSITORY, Installation

CATALOG = "awsdatacatalog"
"""Athena's name for Glue: Hive tables, Iceberg tables and views."""
MEMORY = "3g"
# Trino uses parts of the JVM that are closed by default, to read values and compile queries.
_OPENED = ["--add-modules=jdk.incubator.vector", "--enable-native-access=ALL-UNNAMED"]
_OPENED += ["--sun-misc-unsafe-memory-access=allow"]
SMALL = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData")
"""Flags for a JVM that runs for a minute: no second compiler and no garbage collection threads. Starting and small
queries then take half of the processor time."""


class LocalTrino(ChildServer):
    """One Trino, also the engine of local Athena. `aws` are the variables of its AWS (`LocalAws.env()`)."""

    NAME = "Trino"
    START_SECONDS = 300.0

    def __init__(self, installation: Installation, log: Path, aws: Mapping[str, str], port: int = 0) -> None:
        super().__init__(log, REPOSITORY / ".local")
        self.port = port
        self.url = ""
        self._installation = installation
        self._aws = dict(aws)

    def _command(self, state_dir: Path) -> list[str]:
        memory = [f"-Xmx{MEMORY}", f"-Djava.io.tmpdir={state_dir}"]
        program = ["-cp", self._installation.class_path, "LakeServer", str(self.port), str(state_dir)]
        return [self._installation.jdk.java, *memory, *SMALL, *_OPENED, *program]

    def _environment(self) -> dict[str, str]:
        # Without the user's own AWS settings and without flags for other JVMs.
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "JAVA_", "JDK_"))}
        return {**kept, **self._aws}

    def _answers(self, state_dir: Path) -> bool:
        url_file = state_dir / "url"
        if not url_file.exists():
            return False
        self.url = url_file.read_text()
        self._serve_athena()
        return True

    def _serve_athena(self) -> None:
        """Tell local AWS that its Athena runs queries here from now on."""
        request = urllib.request.Request(
            f"{self._aws['AWS_ENDPOINT_URL']}/_dynalake/trino",
            data=json.dumps({"url": self.url}).encode(),
            headers=authorization(self._aws["AWS_ACCESS_KEY_ID"]),
        )
        urllib.request.urlopen(request, timeout=30).close()
