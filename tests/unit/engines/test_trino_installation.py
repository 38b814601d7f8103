"""The jars are fetched once, whole, and are those of the lock file; what a machine lacks is said by name."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from infra.local.trino import jars
from infra.local.trino.jars import JarsError, installed
from infra.local.trino.java import MODULES, MissingPartError, find_jdk

# Writes two jars of the set that `-P` names, and a line that it was called.
MAVEN = """#!/bin/sh
echo "$@" >> {log}
for argument; do case "$argument" in -DoutputDirectory=*) folder=${{argument#*=}};; esac; done
mkdir -p "$folder"
printf '%s' "$(basename "$folder") a" > "$folder/g.a-1.jar"
{then}
printf '%s' {bytes} > "$folder/g.b-2.jar"
"""
JAVAC = '#!/bin/sh\nwhile [ "$1" != -d ]; do shift; done\ntouch "$2/LakeServer.class"\n'


def executable(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(0o755)
    return file


def make_jdk(home: Path, version: str = "25.0.1", modules: tuple[str, ...] = MODULES) -> Path:
    executable(home / "bin" / "javac", JAVAC)
    (home / "release").write_text(f'JAVA_VERSION="{version}"\nMODULES="java.base {" ".join(modules)}"\n')
    return home


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class Machine:
    """A machine with a JDK, and a Maven that notes each call."""

    def __init__(self, folder: Path, lock: Path) -> None:
        self.home = folder / "trino"
        self.log = folder / "calls"
        self.bin = folder / "bin"
        self.environment = {
            "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}",
            "JAVA25_HOME": str(make_jdk(folder / "jdk")),
        }
        self.maven()
        names = [
            (f"{name}/g.{jar}.jar", text) for name in jars.SETS for jar, text in (("a-1", f"{name} a"), ("b-2", "b"))
        ]
        lock.write_text("".join(f"{sha256(text)}  {name}\n" for name, text in sorted(names)))

    def maven(self, content: str = "b", then: str = "") -> None:
        executable(self.bin / "mvn", MAVEN.format(log=self.log, bytes=content, then=then))

    def calls(self) -> int:
        return len(self.log.read_text().splitlines()) if self.log.exists() else 0

    def whole(self) -> list[str]:
        """The folders that are taken for complete."""
        return sorted(re.sub("-.*", "", path.name) for path in self.home.iterdir() if path.is_dir())


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    lock = tmp_path / "jars.sha256"
    monkeypatch.setattr(jars, "LOCK", lock)
    return Machine(tmp_path, lock)


def test_jars_are_fetched_once(machine: Machine) -> None:
    first = installed(machine.home, machine.environment)
    assert machine.calls() == len(jars.SETS)
    assert [path.name for path in first.spark_jars] == ["g.a-1.jar", "g.b-2.jar"]
    assert (first.server / "LakeServer.class").exists()
    assert str(first.jars / "trino" / "*") in first.class_path
    assert installed(machine.home, machine.environment) == first
    assert machine.calls() == len(jars.SETS)


def test_another_lock_file_is_another_installation(machine: Machine) -> None:
    old = installed(machine.home, machine.environment)
    machine.maven(content="c")
    jars.LOCK.write_text(jars.LOCK.read_text().replace(sha256("b"), sha256("c")))
    new = installed(machine.home, machine.environment)
    assert new.jars != old.jars
    assert not old.jars.exists()
    assert not old.server.exists()


def install_elsewhere(machine: Machine) -> subprocess.Popen[str]:
    """In a process of its own."""
    code = (
        "from pathlib import Path; from infra.local.trino import jars; "
        f"jars.LOCK = Path({str(jars.LOCK)!r}); jars.installed(Path({str(machine.home)!r}))"
    )
    environment = {**os.environ, **machine.environment}
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=jars.REPOSITORY, env=environment, stderr=subprocess.PIPE, text=True
    )


def test_a_killed_download_does_not_count(machine: Machine) -> None:
    machine.maven(then="kill -9 $PPID")
    with install_elsewhere(machine) as killed:
        assert killed.wait() == -9
    assert machine.whole() == ["part"]
    machine.maven()
    installed(machine.home, machine.environment)
    assert machine.whole() == ["jars", "server"]


def test_only_one_of_two_concurrent_installations_fetches(machine: Machine) -> None:
    machine.maven(then="sleep 0.3")
    both = [install_elsewhere(machine) for _ in range(2)]
    assert [(process.wait(), process.communicate()[1]) for process in both] == [(0, "")] * 2
    assert machine.calls() == len(jars.SETS)


@pytest.mark.parametrize(
    ("content", "lock", "said"),
    [
        ("x", "{lock}", "spark/g.b-2.jar: received {x}, allowed {b}"),
        ("b", "{lock}{b}  trino/g.c-3.jar\n", "trino/g.c-3.jar: received none, allowed {b}"),
        ("b", "", "spark/g.a-1.jar: received {a}, allowed none"),
    ],
    ids=["other-bytes", "missing", "not-listed"],
)
def test_only_the_jars_of_the_lock_file_are_installed(machine: Machine, content: str, lock: str, said: str) -> None:
    machine.maven(content=content)
    hashes = {"a": sha256("spark a"), "b": sha256("b"), "x": sha256("x")}
    jars.LOCK.write_text(lock.format(lock=jars.LOCK.read_text(), **hashes))
    with pytest.raises(JarsError, match=re.escape(said.format(**hashes))):
        installed(machine.home, machine.environment)
    assert machine.whole() == []


def test_the_output_of_maven_is_shown(machine: Machine) -> None:
    machine.maven(then="echo no route to host; exit 3")
    with pytest.raises(JarsError, match="mvn ended with code 3:\nno route to host"):
        installed(machine.home, machine.environment)


def test_an_error_says_how_to_install_maven(machine: Machine) -> None:
    with pytest.raises(MissingPartError, match="apt-get install maven"):
        installed(machine.home, {**machine.environment, "PATH": "/nowhere"})


def test_a_jdk_is_found_in_any_usual_place(tmp_path: Path) -> None:
    named, other = make_jdk(tmp_path / "named"), make_jdk(tmp_path / "jvm" / "temurin-25", "25")
    make_jdk(tmp_path / "jvm" / "java-1.25-early", "25-ea", modules=("jdk.compiler",))
    on_path = make_jdk(tmp_path / "path", "26.0.1")
    executable(on_path / "bin" / "java", f"#!/bin/sh\necho '    java.home = {on_path}' >&2\n")
    environment = {"PATH": str(on_path / "bin"), "JAVA25_HOME": str(named)}
    assert find_jdk(environment, tmp_path / "jvm").home == named
    del environment["JAVA25_HOME"]
    assert find_jdk(environment, tmp_path / "jvm").home == other
    assert find_jdk(environment, tmp_path / "none").home == on_path


@pytest.mark.parametrize(
    ("version", "modules", "said"),
    [
        ("17.0.15", MODULES, "is Java 17.0.15"),
        ("25.0.1", ("jdk.compiler",), "lacks the module jdk.incubator.vector"),
    ],
)
def test_an_error_names_an_unsuitable_jdk(tmp_path: Path, version: str, modules: tuple[str, ...], said: str) -> None:
    """One that the user names is the one that counts."""
    home = make_jdk(tmp_path / "named", version, modules)
    make_jdk(tmp_path / "jvm" / "temurin-25")
    with pytest.raises(MissingPartError, match=re.escape(f"JAVA25_HOME ({home}) {said}")) as refused:
        find_jdk({"PATH": "", "JAVA25_HOME": str(home)}, tmp_path / "jvm")
    assert "openjdk-25-jdk-headless" in str(refused.value)


def test_the_lock_file_has_the_artifacts_of_the_pom() -> None:
    lines = jars.LOCK.read_text().splitlines()
    assert all(re.fullmatch(r"[0-9a-f]{64}  (trino|spark)/[\w.+-]+-\d[\w.+-]*\.jar", line) for line in lines)
    names = {line.split("  ")[1] for line in lines}
    assert len(names) == len(lines)
    dependency = r"<groupId>([^<]+)</groupId>\s*<artifactId>([^<]+)</artifactId>\s*<version>([^<]+)</version>"
    profiles = re.findall(r"<profile>\s*<id>(\w+)</id>(.+?)</profile>", jars.POM.read_text(), re.DOTALL)
    assert tuple(name for name, _ in profiles) == jars.SETS
    for name, text in profiles:
        for group, artifact, version in re.findall(dependency, text):
            assert f"{name}/{group}.{artifact}-{version}.jar" in names
