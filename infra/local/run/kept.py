"""What `make up` keeps between `make down` and the next `make up` (standard library only).

`identity.json` in the folder `HOME` has the ports and secrets, which stay the same. `kept/00000007` has the state of
local AWS and the database of Airflow at one moment; the highest number counts. A folder gets its name once it is
complete, so a run that is killed at any time leaves the state before.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import socket
import sqlite3
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from infra.local.run.keeper import HOME, publish

STATES = HOME / "kept"
DATABASE = "airflow.db"
_IDENTITY = HOME / "identity.json"
_PORTS = ("local AWS", "Airflow", "Airflow's task log", "Airflow's trigger log", "Trino")
AWS_AND_AIRFLOW, TRINO = range(4), range(4, 5)
"""Positions of ports."""
ENDING_SECONDS = 5.0


def free_ports(count: int) -> list[int]:
    """Return unused ports on 127.0.0.1. All are held until the last is known, so they differ."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for listener in sockets:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in sockets]


def new_key() -> str:
    """Return a random access key for local AWS, in the format of AWS's keys."""
    return f"LOCAL{secrets.token_hex(12).upper()}"


@dataclass
class Identity:
    """The ports and secrets by which the user's bookmarks and shells know the servers."""

    key: str = field(default_factory=new_key)
    password: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    secret: str = field(default_factory=lambda: secrets.token_hex(64))
    """Signs logins and the tokens of waiting tasks."""
    ports: list[int] = field(default_factory=lambda: free_ports(len(_PORTS)))

    @classmethod
    def read(cls) -> Identity:
        """Return the identity of the last run."""
        return cls(**json.loads(_IDENTITY.read_text()))

    @classmethod
    def prepare(cls, parts: Iterable[int]) -> list[str]:
        """Make an identity unless there is one; give other ports to parts whose port another program took.

        Return what the user should know about them.
        """
        identity = cls.read() if _IDENTITY.exists() else cls()
        said = []
        for at in parts:
            if _taken(port := identity.ports[at]):
                identity.ports[at] = free_ports(1)[0]
                said.append(f"Port {port} is taken by another program: {_PORTS[at]} now has {identity.ports[at]}.")
        publish(_IDENTITY, json.dumps(asdict(identity)))
        return said


def _taken(port: int) -> bool:
    """Return whether a port stays taken: the servers of a run that was just killed need a moment to end."""
    deadline = time.monotonic() + ENDING_SECONDS
    while not (free := _is_free(port)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not free


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def newest() -> Path | None:
    """Return the folder of the last complete state."""
    return max(STATES.glob("[0-9]" * 8), default=None)


def moment(state: Path) -> str:
    """Return when a state was saved, in local time."""
    return f"{datetime.fromtimestamp(state.stat().st_mtime, UTC).astimezone():%Y-%m-%d %H:%M:%S}"


def save(write_aws: Callable[[Path], object], database: Path) -> None:
    """Keep the state of local AWS, which `write_aws` writes to a file, and Airflow's database, instead of the last."""
    before = newest()
    part = STATES / "unfinished"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(mode=0o700, parents=True)
    # While both work, Airflow's is the older one: it may do again what AWS has, but does not miss what AWS lacks.
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(part / DATABASE)) as copy:
        source.backup(copy)
    write_aws(part / "aws")
    part.rename(STATES / f"{int(before.name) + 1 if before else 1:08}")
    if before:
        shutil.rmtree(before)


def restore_database(state: Path | None, database: Path) -> None:
    """Replace Airflow's database by that of a state; without one, Airflow makes a new one."""
    for file in database.parent.glob(f"{database.name}*"):
        file.unlink()
    if state is not None:
        shutil.copyfile(state / DATABASE, database)


def set_aside(state: Path) -> Path:
    """Rename a state that cannot be read, so that it does not count any more; return its new place."""
    aside = STATES / f"unreadable-{state.name}"
    shutil.rmtree(aside, ignore_errors=True)
    return state.rename(aside)
