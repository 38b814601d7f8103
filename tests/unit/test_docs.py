"""The docs and the product say the same: commands, settings, names, links, templates of output."""

from __future__ import annotations

import ast
import json
import os
import re
import stat
import subprocess
import sys
from dataclasses import Field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from dynalake.options.backfill import BackfillOptions
from dynalake.options.engine import ENGINE, Engine
from dynalake.options.lake_options import LakeOptions
from dynalake.options.lakes import LAKES, LakeEntry, environments, find_entry
from dynalake.options.option import Options, choices_of, default_of, kind_of
from dynalake.options.runs import (
    CertifyOptions,
    ConvertOptions,
    NightOptions,
    RedriveOptions,
    SetupOptions,
    TeardownOptions,
    WatchOptions,
)
from dynalake.options.settings import TableSettings
from dynalake.options.where import NewTables, OneTable, Tables, Where
from infra.local.run.compose import write as local_secrets
from tests.support.examples import NOT_RUN, RUN_BY, example, examples
from tests.support.machine import REPOSITORY, need

JSON = ("A KMS key", "Several lakes in one Airflow")
PAGES = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
PACKAGES = sorted(path.parent for path in (REPOSITORY / "plugins" / "dynalake").rglob("__init__.py"))
TARGETS = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_link_exists(page: Path) -> None:
    text = page.read_text()
    assert set(re.findall(r"`make ([a-z-]+)", text)) <= TARGETS
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (page.parent / link).exists(), link
    for link, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", text):
        target = page.parent / link if link else page
        assert target.suffix != ".md" or anchor in anchors(target), f"{link}#{anchor}"


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's titles, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^a-z0-9_ -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_has_a_word_banned_by_the_style_guide(page: Path) -> None:
    """Except in code, in the guide's own table, and in the tables of parameters, whose text comes from the forms."""
    _, mark, table = (REPOSITORY / "docs" / "style.md").read_text().partition("| say | not |\n|---|---|\n")
    banned = [word.strip() for row in table.splitlines() for word in row.split("|")[2].split(",")]
    assert mark
    assert "anew" in banned
    text = re.sub(r"^ *```.*?^ *```$|`[^`\n]*`", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    if page.name in ("style.md", "parameters.md"):
        text = re.sub(r"^\|.*$", "", text, flags=re.MULTILINE)
    words = "|".join(re.escape(word).replace(r"\ ", r"\s+") for word in banned)
    assert re.findall(rf"\b(?:{words})\b", text, re.IGNORECASE) == []


@pytest.mark.parametrize(
    ("section", "kinds"),
    [
        ("Everywhere", (OneTable, Where)),
        ("`dynalake_setup`", (NewTables, SetupOptions)),
        ("Settings", (TableSettings,)),
        ("Lake", (LakeOptions,)),
        ("`dynalake_backfill`", (BackfillOptions, Engine)),
        ("`dynalake_convert`", (Tables, ConvertOptions, Engine)),
        ("`dynalake_compact`", (Tables, NightOptions, Engine)),
        ("`dynalake_watch`", (Tables, WatchOptions)),
        ("`dynalake_certify`", (Tables, CertifyOptions)),
        ("`dynalake_redrive`", (RedriveOptions,)),
        ("`dynalake_teardown`", (TeardownOptions,)),
        ("The lakes of an Airflow", (LakeEntry,)),
    ],
)
def test_every_option_is_documented(
    section: str, kinds: tuple[type[Options], ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each with exactly its default, its limits and its description."""
    for variable in (LAKES, ENGINE):
        monkeypatch.delenv(variable, raising=False)
    described = [f for kind in kinds for f in kind.described() if f.name != "table" or kind in (OneTable, NewTables)]
    text = (REPOSITORY / "docs" / "parameters.md").read_text().split(f"\n## {section}\n")[1].split("\n## ")[0]
    rows = [tuple(cell.strip() for cell in line.split("|")[1:-1]) for line in text.splitlines() if line[:3] == "| `"]
    assert rows == [(f"`{f.name}`", _default(f), _limits(f), f.metadata["description"]) for f in described]


def _default(f: Field[Any]) -> str:
    default = default_of(f)
    if isinstance(default, bool):
        return f"`{json.dumps(default)}`"
    return "" if default in (None, "", ()) else f"`{default}`"


def _limits(f: Field[Any]) -> str:
    kind, low, high = kind_of(f), f.metadata["minimum"], f.metadata["maximum"]
    if kind is bool:
        return "`true`, `false`"
    if choices := choices_of(f):
        return ", ".join(f"`{choice}`" for choice in choices)
    if kind is not int:
        return ""
    return f"from {low}" if high is None else f"{low} to {high}"


def test_every_example_is_run_or_says_why_not() -> None:
    """A new block of code needs a test that runs it as it is, or a reason, in `tests/support/examples.py`."""
    known = [*(name for names in RUN_BY.values() for name in names), *NOT_RUN]
    assert sorted(known) == sorted(one.name for one in examples())
    for reason in NOT_RUN.values():
        for file in re.findall(r"tests/\S+\.py", reason):
            assert (REPOSITORY / file).exists(), file
    run = {name.rpartition(": ")[2].split(" ")[0] for names in RUN_BY.values() for name in names}
    print(f"{len(known)} examples: {len(known) - len(NOT_RUN)} are run, {len(NOT_RUN)} are not", *NOT_RUN, sep="\n")
    assert {"sql", "python", "sh"} <= run


@pytest.mark.parametrize("file", RUN_BY)
def test_the_tests_that_run_examples_take_them_from_the_documents(file: str) -> None:
    """By name: what a module does not take, it cannot run."""
    text = (REPOSITORY / file).read_text()
    for name in RUN_BY[file]:
        assert f'"{name}"' in text or "run_by(__file__)" in text, name


def test_the_json_examples_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    key, lakes = (json.loads(example(f"docs/operations.md: {section}: json")) for section in JSON)
    assert {"Effect", "Principal", "Action", "Resource"} == set(key)
    monkeypatch.setenv(LAKES, json.dumps(lakes))
    assert environments() == tuple(lakes)
    for name, values in lakes.items():
        assert find_entry(name).connection == values["connection"]


def test_the_variables_and_the_first_conf_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    for line in example("docs/deploy.md: 2. The lake and its connection: sh").splitlines():
        name, _, value = line.partition("=")
        monkeypatch.setenv(name, value.strip("'"))
    assert environments() == ("prod",)
    connection = json.loads(os.environ[f"AIRFLOW_CONN_{find_entry('prod').connection.upper()}"])
    assert connection["conn_type"] == "aws"
    assert {*connection["extra"]} == {"region_name", "role_arn"}
    conf = json.loads(example("docs/deploy.md: 3. The first setup: json"))
    options = {f.name for of in (NewTables, Where, SetupOptions, TableSettings, LakeOptions) for f in fields(of)}
    assert {*conf} <= options


def test_the_variable_of_the_lakes_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    text = example("docs/parameters.md: The lakes of an Airflow: sh")
    shell = ["bash", "-c", f'{text}printf %s "${LAKES}"']
    monkeypatch.setenv(LAKES, subprocess.run(shell, capture_output=True, text=True, check=True).stdout)
    assert environments() == ("prod", "staging")
    assert find_entry("prod").convert_every_minutes == 5


def test_the_page_for_other_dags_shows_the_example_that_is_tested() -> None:
    example = (REPOSITORY / "docs" / "examples" / "example_consumer.py").read_text()
    assert f"```python\n{example}```\n" in (REPOSITORY / "docs" / "consume.md").read_text()


def test_the_product_says_what_the_troubleshooting_quotes() -> None:
    """Piece by piece: an ellipsis stands for a value, or for what is left out."""
    sources = [path for folder in ("plugins", "lambda_src") for path in (REPOSITORY / folder).rglob("*.py")]
    nodes = (node for path in sources for node in ast.walk(ast.parse(path.read_text())))
    texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    texts += [path.read_text() for path in (REPOSITORY / "plugins/dynalake/ui/templates").glob("*.html")]
    said = "\n".join(texts)
    quotes = re.findall("“([^”]+)”", (REPOSITORY / "docs" / "troubleshooting.md").read_text())
    pieces = [piece.strip() for quote in quotes for piece in quote.split("…") if piece.strip()]
    assert len(pieces) > 60
    assert [piece for piece in pieces if piece not in said] == []


def test_every_target_of_the_makefile_is_described() -> None:
    listed = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    assert {line.split()[0] for line in listed.splitlines()} == TARGETS


def test_every_test_is_in_a_suite() -> None:
    """`make test` runs its suites by folder: tests in a folder that no suite names would never run."""
    makefile = (REPOSITORY / "Makefile").read_text()
    suites = re.findall(r"^SUITES := (.+)$", makefile, re.MULTILINE)[0].split()
    run = {
        folder
        for suite in suites
        for line in re.findall(rf"^{suite}:.*\n\t@\$\(BIN\)/python -m pytest (.+)$", makefile, re.MULTILINE)
        for folder in line.split()
        if not folder.startswith("--")
    }
    with_tests = {path.relative_to(REPOSITORY).parts[1] for path in (REPOSITORY / "tests").rglob("test_*.py")}
    assert run == {f"tests/{name}" for name in with_tests}


def test_the_readme_shows_what_the_demo_prints() -> None:
    """Its words, not its times: the README's output has every step of the demo's source."""
    readme = (REPOSITORY / "README.md").read_text()
    for step in ("dynalake_setup: deploy the pipeline", "canaries_arrive", "dynalake_backfill: read the existing"):
        assert step in readme
    assert re.search(r"differences +0\n", readme)
    assert len(readme.splitlines()) < 170, "short"


SECRETS = dict.fromkeys(("AIRFLOW_SECRET", "AIRFLOW_API_SECRET", "POSTGRES_PASSWORD"), "x" * 64)


def compose(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """With Debian's docker-compose; `make check` validates the file against the published schema."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "AIRFLOW_"))}
    return subprocess.run(
        [need("docker-compose"), *arguments],
        cwd=REPOSITORY,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_compose_file_is_valid() -> None:
    done = compose("--profile", "local", "config", "--services", **SECRETS)
    assert done.returncode == 0, done.stderr
    services = {"postgres", "init", "api-server", "scheduler", "dag-processor", "triggerer", "aws"}
    assert set(done.stdout.split()) == services


@pytest.mark.parametrize("secret", SECRETS)
def test_compose_needs_its_secrets(secret: str) -> None:
    refused = compose("config", **{name: value for name, value in SECRETS.items() if name != secret})
    assert refused.returncode != 0
    assert f"set {secret} to " in refused.stderr


def test_compose_gives_its_secrets_to_every_component(tmp_path: Path) -> None:
    """The components must be able to read what another one signs or encrypts."""
    local_secrets(tmp_path / "compose.env")
    done = compose("--env-file", str(tmp_path / "compose.env"), "--profile", "local", "config")
    services: dict[str, Any] = yaml.safe_load(done.stdout)["services"]
    components = {name: services[name]["environment"] for name in services if name not in ("postgres", "aws")}
    assert set(components) == {"init", "api-server", "scheduler", "dag-processor", "triggerer"}
    for environment in components.values():
        assert environment == components["scheduler"]
        for key in ("API_AUTH__JWT_SECRET", "API__SECRET_KEY", "CORE__FERNET_KEY"):
            assert f"AIRFLOW__{key}" in environment
        assert environment["AWS_ENDPOINT_URL"] == "http://aws:4566"
        assert environment["AWS_ACCESS_KEY_ID"] == services["aws"]["environment"]["DYNALAKE_LOCAL_KEY"]


def test_local_compose_has_secrets_of_its_own_machine(tmp_path: Path) -> None:
    """Without Docker: each value that the file requires exists, is random, kept, and private."""
    first, second = tmp_path / "one" / "compose.env", tmp_path / "compose.env"
    for file in (first, second, second):
        before = file.read_text() if file.exists() else None
        local_secrets(file)
        assert before in (None, file.read_text())
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    values, others = (dict(line.split("=", 1) for line in file.read_text().splitlines()) for file in (first, second))
    text = (REPOSITORY / "docker-compose.yaml").read_text()
    assert set(re.findall(r"\$\{(\w+):\?", text)) == set(SECRETS) <= set(values)
    assert values["DYNALAKE_LOCAL_KEY"] == values["AWS_ACCESS_KEY_ID"] == values["AWS_SECRET_ACCESS_KEY"]
    assert {name for name in values if values[name] == others[name]} == {"AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION"}
    assert urlsplit(values["AWS_ENDPOINT_URL"]).hostname in yaml.safe_load(text)["services"]


def test_compose_takes_the_connection_and_the_lake_from_the_shell() -> None:
    """Airflow reads its environment before the values entered in its UI."""
    variables = {
        "AIRFLOW_CONN_AWS_DEFAULT": '{"conn_type": "aws", "extra": {"role_arn": "arn:aws:iam::1:role/dags"}}',
        "DYNALAKE_LAKES": '{"prod": {"connection": "aws_prod"}}',
        "DYNALAKE_MAX_ACTIVE_BATCHES": "2",
    }
    done = compose("config", **SECRETS, **variables)
    environment = yaml.safe_load(done.stdout)["services"]["scheduler"]["environment"]
    assert variables.items() <= environment.items()
    assert "DYNALAKE_ENGINE" not in {name for name, value in environment.items() if value is not None}


def test_the_images_use_pinned_versions_and_start_existing_commands() -> None:
    version = re.search(r"^apache-airflow==(\S+)", (REPOSITORY / "requirements.txt").read_text(), re.MULTILINE)
    assert version
    assert f"FROM apache/airflow:{version[1]}-python" in (REPOSITORY / "Dockerfile").read_text()
    command = re.search(r"^CMD (.+)$", (REPOSITORY / "infra/local/Dockerfile").read_text(), re.MULTILINE)
    assert command
    _, *arguments = json.loads(command[1])
    # It prints its help instead of starting, after it has parsed its arguments.
    done = subprocess.run(
        [sys.executable, *arguments, "--help"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    known = set(re.findall(r"(--[a-z-]+)", done.stdout))
    assert (
        {"--host", "--known-as", "--port", "--state-dir"}
        == {argument for argument in arguments if argument.startswith("--")}
        <= known
    )


def test_nothing_specific_to_one_machine_is_committed() -> None:
    files = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    for name in files.splitlines():
        text = (REPOSITORY / name).read_text(errors="replace") if (REPOSITORY / name).is_file() else ""
        assert f"{REPOSITORY.parent}/" not in text, name


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_every_package_describes_its_modules(package: Path) -> None:
    """At the beginning of a line of the docstring, alone or together with others."""
    docstring = ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""
    lines = re.findall(r"^ *(\w+(?:, \w+)*) {2,}", docstring, re.MULTILINE)
    modules = [path.stem for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()]
    assert sorted(name for line in lines for name in line.split(", ")) == sorted({*modules} - {"__init__"})


def test_the_files_named_in_the_architecture_exist() -> None:
    text = (REPOSITORY / "docs" / "architecture.md").read_text()
    files = [path.as_posix() for path in REPOSITORY.glob("[a-z]*/**/*") if path.suffix in (".py", ".yaml")]
    for name in re.findall(r"`([\w/]+\.(?:py|yaml))`", text):
        assert any(file.endswith(f"/{name}") for file in files), name
