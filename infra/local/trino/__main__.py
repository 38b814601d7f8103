"""`make trino`: start a Trino on the local AWS of `make up`, and leave it running. Also install Trino.

    python -m infra.local.trino [up | install | jdk | lock]

`install` fetches the jars and compiles the server. If the JDK or Maven is missing, it says so, and fails only in CI.
`jdk` prints the JDK that it would use. `lock` writes the lock file of the jars.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time

from infra.local.run import kept
from infra.local.run.interrupt import stop_once
from infra.local.run.keeper import ENVIRONMENT_FILE, HOME, TRINO, UP, KeeperError, publish, read_environment
from infra.local.run.kept import Identity
from infra.local.trino import jars
from infra.local.trino.java import MissingPartError, find_jdk
from infra.local.trino.server import CATALOG, LocalTrino

URL_FILE = HOME / "trino.url"
STAMP = jars.HOME / ".installed"


def keep() -> int:
    """Run Trino until SIGTERM, or until the local AWS of `make up` ends."""
    stop_once()
    holder = UP.pid
    with contextlib.suppress(KeyboardInterrupt):
        port = Identity.read().ports[kept.TRINO[0]]
        with LocalTrino(jars.installed(), HOME / "trino-server.log", read_environment(), port) as trino:
            publish(URL_FILE, trino.url)
            while holder is not None and UP.pid == holder:
                time.sleep(1)
    return 0


def up() -> int:
    if not ENVIRONMENT_FILE.exists() or UP.pid is None:
        raise KeeperError("Trino reads the local AWS of `make up`, and nothing is up: run `make up` first.")
    stop_once()
    if TRINO.pid is None:
        URL_FILE.unlink(missing_ok=True)
        for line in Identity.prepare(kept.TRINO):
            print(line)
        jars.installed()
        TRINO.start("Trino", URL_FILE, LocalTrino.START_SECONDS)
    url = URL_FILE.read_text()
    host, port = url.removeprefix("http://").split(":")
    query = "SHOW SCHEMAS"
    print(f"""
  Trino       {url}   catalog {CATALOG}, any user, no password

  In Python:  .venv/bin/python -c "import trino; print(trino.dbapi.connect('{host}', {port}, 'me',
              catalog='{CATALOG}').cursor().execute('{query}').fetchall())"
  Its CLI:    trino --server {url} --catalog {CATALOG} --execute '{query}'
  Stop all:   make down
""")
    return 0


def install() -> int:
    if not STAMP.exists():
        print("Fetching the jars of Trino and Iceberg (once, 600 MB, minutes on a slow connection) …", flush=True)
    try:
        jars.installed()
    except MissingPartError as missing:
        if os.environ.get("CI"):
            raise
        print(f"Trino is not installed, and the tests that need it will be skipped: {missing}")
        return 0
    STAMP.touch()
    return 0


def jdk() -> int:
    print(find_jdk().home)
    return 0


def lock() -> int:
    print(f"{jars.write_lock()} jars in {jars.LOCK.name}")
    return 0


if __name__ == "__main__":
    commands = {"up": up, "keep": keep, "install": install, "jdk": jdk, "lock": lock}
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        raise SystemExit(__doc__)
    try:
        raise SystemExit(commands[sys.argv[1]]())
    except KeyboardInterrupt:
        print("\nStopped.")
        raise SystemExit(130) from None
    except (KeeperError, MissingPartError, jars.JarsError) as error:
        raise SystemExit(str(error)) from None
