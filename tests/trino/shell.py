"""Examples as a user runs them: in a shell, or as a program, with the variables of `.local/env`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.machine import REPOSITORY, lack

CLIENTS = REPOSITORY / ".venv-examples" / "bin"
"""Programs of clients that do not fit with Airflow's pins."""

# Several programs share one interpreter, because each takes seconds to import its client; none sees another's names.
_RUN = """
import json, sys
answers = []
for text, name in json.load(sys.stdin):
    names = {"__name__": "__main__"}
    exec(compile(text, name, "exec"), names)
    answers.append(eval(name, names))
print(json.dumps(answers, default=str))
"""


@dataclass
class Shell:
    """Runs commands with these variables in an empty folder, which is also the home."""

    aws: Mapping[str, str]
    folder: Path
    more: dict[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        if not CLIENTS.exists():
            lack(f"{CLIENTS} is missing: run `make {CLIENTS.parent.name}/.installed`")
        elsewhere = ("AWS_", "AIRFLOW", "PYTHON", "PYICEBERG_", "DBT_", "SPARK_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(elsewhere)}
        path = os.pathsep.join([str(Path(sys.executable).parent), str(CLIENTS), os.environ["PATH"]])
        return {**kept, **self.aws, "HOME": str(self.folder), "PATH": path, **self.more}

    def run(self, text: str, cwd: Path | None = None, codes: tuple[int, ...] = (0,)) -> str:
        """Run a script, and return what it printed. Its last command ends with one of these codes."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=cwd or self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode in codes, done.stdout
        return done.stdout

    def evaluate(self, *programs: tuple[str, str], python: str = sys.executable) -> list[Any]:
        """Run programs one after the other, and return for each the value of an expression, as JSON has it."""
        done = subprocess.run(
            [python, "-c", _RUN],
            cwd=self.folder,
            env=self.environment(),
            input=json.dumps(programs),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        answers: list[Any] = json.loads(done.stdout.splitlines()[-1])
        return answers
