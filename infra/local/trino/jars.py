"""Fetch the jars of Trino, and Spark's jars for Iceberg, once with Maven, and check the hash of each.

`installed()` returns only complete folders: a folder gets its name after all its hashes were checked. The folder of a
killed download is removed by the next download.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.local.trino.java import Jdk, MissingPartError, find_jdk

REPOSITORY = Path(__file__).resolve().parents[3]
HERE = Path(__file__).parent
POM = HERE / "pom.xml"
LOCK = HERE / "jars.sha256"
"""Lock file with a line for each jar, for `sha256sum --check`: its SHA-256 and `set/group.artifact-version.jar`."""
SERVER = HERE / "LakeServer.java"
SETS = ("trino", "spark")
"""The profiles of `pom.xml`."""
HOME = REPOSITORY / ".local" / "trino"


class JarsError(RuntimeError):
    """The jars could not be fetched, or differ from the lock file."""


@dataclass(frozen=True)
class Installation:
    """The JDK, jars and server that start a Trino, and the jars for Spark."""

    jdk: Jdk
    jars: Path
    server: Path

    @property
    def class_path(self) -> str:
        """The Java class path with the server and every jar of Trino."""
        return f"{self.server}{os.pathsep}{self.jars / 'trino' / '*'}"

    @property
    def spark_jars(self) -> list[Path]:
        """The jars with which a Spark session reads Iceberg tables in Glue."""
        return sorted((self.jars / "spark").glob("*.jar"))


def installed(home: Path = HOME, environment: Mapping[str, str] = os.environ) -> Installation:
    """Return the installation; create it first if it is missing (once, about 90 s and 600 MB).

    Raises `MissingPartError` if the JDK or Maven is missing, and `JarsError` if a jar differs from the lock file.
    """
    jdk = find_jdk(environment)
    with _alone(home):
        jars = home / f"jars-{_digest(POM, LOCK)}"
        if not jars.exists():
            with _whole(jars) as folder:
                fetch(folder, environment)
                check(folder, LOCK.read_text())
        server = home / f"server-{_digest(POM, LOCK, SERVER)}"
        if not server.exists():
            with _whole(server) as folder:
                _run([jdk.javac, "-cp", str(jars / "trino" / "*"), "-d", str(folder), str(SERVER)], environment)
        for other in home.iterdir():
            if other.is_dir() and other not in (jars, server):
                shutil.rmtree(other)
    return Installation(jdk, jars, server)


def fetch(folder: Path, environment: Mapping[str, str] = os.environ) -> None:
    """Fetch the jars of each set into its own folder with Maven.

    Raises `MissingPartError` if Maven is missing, and `JarsError` if it fails.
    """
    maven = shutil.which("mvn", path=environment.get("PATH"))
    if maven is None:
        raise MissingPartError(
            "`mvn` is not on this machine. Maven fetches the jars of Trino and Spark: install it "
            "(Debian: apt-get install maven)."
        )
    # Maven runs on the `java` on the path. A machine with a JDK elsewhere may have none there.
    java = {} if shutil.which("java", path=environment.get("PATH")) else {"JAVA_HOME": str(find_jdk(environment).home)}
    for name in SETS:
        arguments = ["-P", name, "dependency:copy-dependencies", f"-DoutputDirectory={folder / name}"]
        _run([maven, "--quiet", "--batch-mode", "--file", str(POM), *arguments], {**environment, **java})


def hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each jar, by `set/file name`."""
    jars = sorted(path for name in SETS for path in (folder / name).glob("*"))
    return {f"{path.parent.name}/{path.name}": _sha256(path) for path in jars}


def check(folder: Path, lock: str) -> None:
    """Raise `JarsError` unless the folder holds exactly the jars of the lock file's text."""
    locked = {name: digest for digest, name in (line.split() for line in lock.splitlines())}
    received = hashes(folder)
    wrong = sorted(name for name in locked.keys() | received.keys() if locked.get(name) != received.get(name))
    if wrong:
        name = wrong[0]
        raise JarsError(
            f"{len(wrong)} of {len(locked)} jars differ from {LOCK.name}. The first is {name}: received "
            f"{received.get(name, 'none')}, allowed {locked.get(name, 'none')}. Remove it from Maven's repository "
            f"(~/.m2/repository) and run the command again; after a change of {POM.name}, run `make lock`."
        )


def write_lock(environment: Mapping[str, str] = os.environ) -> int:
    """Write the lock file for the jars of `pom.xml`; return the number of jars."""
    HOME.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="part-", dir=HOME) as folder:
        fetch(Path(folder), environment)
        digests = hashes(Path(folder))
    LOCK.write_text("".join(f"{digest}  {name}\n" for name, digest in digests.items()))
    return len(digests)


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Hold a lock: of two commands at once, the second waits and uses the installation of the first."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """Yield a folder to fill; it gets its name only if the block succeeds."""
    folder = Path(tempfile.mkdtemp(prefix="part-", dir=target.parent))
    try:
        yield folder
        folder.rename(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(command: list[str], environment: Mapping[str, str]) -> None:
    done = subprocess.run(
        command, env=dict(environment), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        output = "\n".join((done.stdout + done.stderr).strip().splitlines()[-10:])
        raise JarsError(f"{Path(command[0]).name} ended with code {done.returncode}:\n{output}")


def _digest(*files: Path) -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
