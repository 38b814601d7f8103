"""The documents' examples of clients, as a user runs them with the variables of `.local/env`."""

from __future__ import annotations

import re
from importlib.resources import files
from urllib.parse import urlsplit

import duckdb
import pytest

from infra.local.engines.duckdb import EXTENSIONS
from infra.local.trino.jars import Installation
from infra.local.trino.server import SMALL, LocalTrino
from tests.support.examples import example
from tests.support.machine import need
from tests.trino.shell import CLIENTS, Shell

OPERATIONS = {"INSERT": 6, "MODIFY": 1, "REMOVE": 2}
pytestmark = pytest.mark.usefixtures("docs_lake")


def install_extensions(shell: Shell) -> None:
    """Lay the extensions where DuckDB's INSTALL finds them: here it cannot fetch any."""
    (platform,) = duckdb.execute("PRAGMA platform").fetchone() or ()
    place = shell.folder / ".duckdb" / "extensions" / f"v{duckdb.__version__}" / platform
    place.mkdir(parents=True)
    for name in EXTENSIONS:
        folder = files(f"duckdb_extension_{name}").joinpath("extensions", f"v{duckdb.__version__}")
        (place / f"{name}.duckdb_extension").symlink_to(str(folder.joinpath(f"{name}.duckdb_extension")))


def test_clients_beside_airflow(shell: Shell, trino_server: LocalTrino) -> None:
    install_extensions(shell)
    trino = example("docs/query.md: Trino on your machine: python")
    trino, count = re.subn(r'"127.0.0.1", \d+', f'"127.0.0.1", {urlsplit(trino_server.url).port}', trino)
    assert count == 1
    athena = example("docs/query.md: Athena: python")
    digits = "12345678901234567890123456789012345.678"
    schemas, pandas, exact, counts, arrow, total = shell.evaluate(
        (trino, "rows"),
        (athena, "rows.to_dict('records')"),
        (re.sub('"SELECT .*?"', f"\"SELECT DECIMAL '{digits}' AS digits\"", athena), "rows.digits[0]"),
        (example("docs/query.md: DuckDB: python"), "dict(rows)"),
        (example("docs/query.md: pyiceberg and PyArrow: python"), "rows.to_pylist()"),
        (example("docs/query.md: pyiceberg and PyArrow: python 2"), "float(total)"),
    )
    assert ["dynalake_prod"] in schemas
    lines = '[{"article":"x","price":150},{"article":"y","price":1}]'
    assert sorted(pandas, key=lambda row: str(row["id"])) == [
        {"id": number, "total": 12.5, "lines": lines} for number in ("42", "44", "50")
    ]
    assert exact == digits, "as a decimal has it"
    assert counts == OPERATIONS
    assert sorted(row["id"] for row in arrow) == ["41", "41", "42", "43", "43", "44", "45", "45", "50"]
    assert all(row.keys() == {"id", "__operation"} for row in arrow)
    assert total == 4 * 12.5


def test_pyathena(shell: Shell) -> None:
    text = example("docs/query.md: Athena: python 2")
    assert shell.evaluate((text, "rows"), python=str(CLIENTS / "python")) == [[["42", 12.5]]]


def test_spark_sql(shell: Shell, installation: Installation) -> None:
    """With the packages as files: here nothing can be fetched from Maven while it starts."""
    need("java")
    jars = ",".join(map(str, installation.spark_jars))
    command, count = re.subn(r"--packages (\S+)", f"--jars {jars}", example("docs/query.md: Spark: sh"))
    assert count == 1
    for package in re.findall(r":([\w.-]+):([\d.]+)", example("docs/query.md: Spark: sh")):
        assert "-".join(package) in jars, "the same versions"
    (shell.folder / "statements.sql").write_text(example("docs/query.md: Spark: sql"))
    shell.more |= {"SPARK_LOCAL_IP": "127.0.0.1", "JDK_JAVA_OPTIONS": " ".join(SMALL)}
    output = shell.run(f"{command.rstrip()} --conf spark.ui.enabled=false -f statements.sql 2>log || (cat log; exit 1)")
    rows = [line.split("\t") for line in output.splitlines() if "\t" in line]
    assert rows[:3] == [[name, str(count)] for name, count in OPERATIONS.items()]
    assert sorted(rows[3:7]) == [[number, "12.5", "NULL"] for number in ("41", "42", "43", "44")]
    assert len(rows[7:]) == 2 * 8, "the lines of each change that has some"
