"""The documents' examples: every fenced block of code, and the test that runs it as it is there, or why none does.

Each block has to be in one of the two tables below; `tests/unit/test_docs.py` compares them with the documents.
"""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.machine import REPOSITORY

RUN_BY: dict[str, tuple[str, ...]] = {
    "tests/airflow/test_assets.py": (
        "docs/consume.md: Run your DAGs after dynalake's: python",
        "docs/consume.md: An example: python",
    ),
    "tests/e2e/test_with_curl.py": (
        "docs/parameters.md: Parameters: sh",
        "docs/deploy.md: 3. The first setup: sh",
        "docs/engines.md: AWS Glue: sh 2",
        "docs/query.md: dbt: sh",
    ),
    "tests/trino/test_aws_cli_examples.py": (
        "docs/engines.md: AWS Glue: sh",
        "docs/engines.md: AWS Glue: sh 3",
        "docs/deploy.md: 1. The roles: sh",
        "docs/life.md: Remove a lake: sh",
        "docs/life.md: Remove a lake: sh 2",
        "docs/query.md: Redshift Spectrum: sh",
    ),
    "tests/trino/test_dbt.py": (
        "docs/query.md: dbt: yaml",
        "docs/query.md: dbt: yaml 2",
        "docs/query.md: dbt: sql",
        "docs/query.md: dbt: sql 2",
        "docs/query.md: dbt: sh 2",
    ),
    "tests/trino/test_client_examples.py": (
        "docs/query.md: Athena: python",
        "docs/query.md: Athena: python 2",
        "docs/query.md: Trino on your machine: python",
        "docs/query.md: Spark: sh",
        "docs/query.md: Spark: sql",
        "docs/query.md: DuckDB: python",
        "docs/query.md: pyiceberg and PyArrow: python",
        "docs/query.md: pyiceberg and PyArrow: python 2",
    ),
    "tests/trino/test_trino_docs.py": (
        "docs/operations.md: An outage longer than the stream: sql",
        "docs/operations.md: Erasing a person's data: sql",
        "docs/operations.md: Erasing a person's data: sql 2",
        "docs/query.md: What to ask: sql",
        "docs/query.md: What to ask: sql 2",
        "docs/query.md: What to ask: sql 3",
        "docs/query.md: The items there are now, without views: sql",
    ),
    "tests/unit/test_docs.py": (
        "docs/deploy.md: 2. The lake and its connection: sh",
        "docs/deploy.md: 3. The first setup: json",
        "docs/operations.md: A KMS key: json",
        "docs/operations.md: Several lakes in one Airflow: json",
        "docs/parameters.md: The lakes of an Airflow: sh",
    ),
}
"""The examples that a module of tests runs."""

NOT_RUN: dict[str, str] = {
    "docs/architecture.md: The layers: ": "a drawing",
    "docs/how-it-works.md: How it works: ": "a drawing",
    "README.md: See it run: console": "output; tests/commands/test_demo_command.py runs `make demo`",
    "README.md: See it run: console 2": "output; tests/commands/test_up_down.py runs `make up`",
    "docs/conformance.md: Conformance: sh": "needs an AWS account; LOCAL=1: tests/commands/test_conformance_command.py",
    "docs/deploy.md: Docker Compose: sh": "needs Docker; tests/unit/test_docs.py validates the compose file",
    "docs/deploy.md: Your own Airflow: sh": "installs an Airflow; tests/unit/test_installed.py looks into the wheel",
    "docs/deploy.md: Your own Airflow: sh 2": "follows the one before; tests/airflow/test_bundles.py loads these DAGs",
    "docs/deploy.md: Amazon MWAA: sh": "needs an editor; tests/airflow/test_bundles.py makes and loads the bundle",
    "docs/deploy.md: Astronomer: sh": "needs Astro; tests/airflow/test_bundles.py makes and loads the bundle",
    "docs/deploy.md: Kubernetes with Helm: sh": "needs a cluster; tests/airflow/test_bundles.py loads the bundle",
    "docs/life.md: Upgrade: sh": "sets up every table of a lake again; tried by hand with `make up`",
    "docs/engines.md: EMR Serverless: dockerfile": "needs Docker",
    "docs/engines.md: EMR Serverless: sh": "local AWS has no EMR Serverless",
    "docs/operations.md: Who may trigger what: sh": "needs Airflow's FAB auth manager, which the tests do not install",
    "docs/operations.md: An account with Lake Formation: sh": "local AWS has no Lake Formation",
    "docs/query.md: Redshift Spectrum: sql": "needs Redshift; tests/trino/test_trino_docs.py parses it",
    "docs/query.md: Redshift Spectrum: sql 2": "needs Redshift; tests/trino/test_trino_docs.py parses it",
    "docs/query.md: Snowflake: sql": "needs Snowflake",
    "docs/query.md: Databricks: sql": "needs Databricks",
    "docs/terraform.md: A lake: sh": "needs Terraform's registry; tests/terraform applies the same modules",
    "docs/terraform.md: Taking over a lake from setup: sh": "needs Terraform's registry and a lake's state",
}
"""The examples that no test runs, and why."""


@dataclass(frozen=True)
class Example:
    """A block of code: `name` is its page, its section, its language, and its number if the section has several."""

    name: str
    language: str
    text: str


def examples() -> Iterator[Example]:
    """Yield the examples of all documents."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    for page in sorted(listed.stdout.splitlines()):
        if (REPOSITORY / page).exists():
            yield from examples_of(page, (REPOSITORY / page).read_text())


def examples_of(page: str, text: str) -> Iterator[Example]:
    """Yield the examples of a page."""
    section, lines = "", iter(text.splitlines())
    seen: Counter[tuple[str, str]] = Counter()
    for line in lines:
        if title := re.match(r"#+ (.+)", line):
            section = title[1]
        if fence := re.match(r"( *)(`{3,}|~{3,})(.*)", line):
            indent, marks, language = len(fence[1]), fence[2], fence[3].strip()
            body = []
            for inner in lines:
                if inner.strip() == marks:
                    break
                body.append(inner[indent:])
            seen[section, language] += 1
            number = seen[section, language]
            name = f"{page}: {section}: {language}{'' if number == 1 else f' {number}'}"
            yield Example(name, language, "".join(f"{inner}\n" for inner in body))


def example(name: str) -> str:
    """Return the text of an example. Raise `LookupError` if no document has it."""
    found = next((one for one in examples() if one.name == name), None)
    if found is None:
        raise LookupError(f"No document has the example {name!r}")
    return found.text


def run_by(file: str) -> tuple[str, ...]:
    """Return the names of the examples that a module of tests (its `__file__`) runs."""
    return RUN_BY[Path(file).resolve().relative_to(REPOSITORY).as_posix()]
