"""Find a JDK on this machine for Trino."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

OLDEST = 25
"""The Java version that Trino 483 is compiled for."""
MODULES = ("jdk.compiler", "jdk.incubator.vector")
"""Modules that the server needs; a runtime without development tools lacks them."""
INSTALLED = Path("/usr/lib/jvm")


class MissingPartError(RuntimeError):
    """Trino needs a program that is missing on this machine; the message says how to install it."""


@dataclass(frozen=True)
class Jdk:
    """One installed JDK."""

    home: Path

    @property
    def java(self) -> str:
        """The path of its `java`."""
        return str(self.home / "bin" / "java")

    @property
    def javac(self) -> str:
        """The path of its compiler."""
        return str(self.home / "bin" / "javac")

    def lacks(self) -> str:
        """Return why Trino cannot run on it; empty if it can.

        Every JDK describes itself in the file `release`: https://openjdk.org/jeps/223
        """
        try:
            release = dict(re.findall(r'^(\w+)="(.*)"$', (self.home / "release").read_text(), re.MULTILINE))
        except OSError:
            return "has no file `release`"
        version = release.get("JAVA_VERSION", "")
        if not version[:1].isdigit() or int(re.split(r"\D", version, maxsplit=1)[0]) < OLDEST:
            return f"is Java {version or 'of an unknown version'}"
        lacking = [module for module in MODULES if module not in release.get("MODULES", "").split()]
        return f"lacks the module {' and '.join(lacking)}" if lacking else ""


def find_jdk(environment: Mapping[str, str] = os.environ, installed: Path = INSTALLED) -> Jdk:
    """Return the JDK of `JAVA25_HOME`, else one in `/usr/lib/jvm`, else that of the `java` on the path.

    Raises `MissingPartError` if none of them fits.
    """
    rejected = []
    for place, home in _places(environment, installed):
        jdk = Jdk(home)
        lacks = jdk.lacks()
        if not lacks:
            return jdk
        rejected.append(f"{place} ({home}) {lacks}")
        if place == "JAVA25_HOME":
            break
    raise MissingPartError(
        f"Trino needs a JDK {OLDEST} or newer, and none was found{': ' if rejected else ''}{'; '.join(rejected)}. "
        f"Install one (Debian, where its release has it: apt-get install openjdk-{OLDEST}-jdk-headless; else Temurin "
        f"{OLDEST}), or set JAVA25_HOME to its folder."
    )


def _places(environment: Mapping[str, str], installed: Path) -> Iterator[tuple[str, Path]]:
    if environment.get("JAVA25_HOME"):
        yield "JAVA25_HOME", Path(environment["JAVA25_HOME"])
    for home in sorted(installed.glob(f"*{OLDEST}*")):
        yield "installed", home
    java = shutil.which("java", path=environment.get("PATH"))
    if java:
        settings = subprocess.run(
            [java, "-XshowSettings:properties", "-version"], capture_output=True, text=True, check=False
        ).stderr
        for home in re.findall(r"^ *java\.home = (.+)$", settings, re.MULTILINE):
            yield "java on the path", Path(home)
