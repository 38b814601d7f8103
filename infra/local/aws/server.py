"""The local AWS server: run `python -m infra.local.aws.server` in the repository's root."""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import shutil
import signal
import socket
import tempfile
import threading
from pathlib import Path
from typing import Any

from infra.local.aws.door import HOSTS, KEY_VARIABLE, Door, behind
from infra.local.aws.settings import TIME_SCALE_VARIABLE


def main() -> None:
    """Bind the port, load ministack with every correction, and serve until SIGTERM or SIGINT."""
    options = _arguments()
    key = os.environ.get(KEY_VARIABLE)
    if not key:
        raise SystemExit(f"{KEY_VARIABLE} must be the access key of this run. Set it to a random, secret value.")
    state_dir: Path = options.state_dir
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.bind((options.host, options.port))
    port = listener.getsockname()[1]
    _configure(state_dir, options.host, port, options.time_scale, key, auth=options.auth)
    if options.ends_with_stdin:
        threading.Thread(target=_end_with_parent, args=(state_dir,), daemon=True).start()

    # ministack reads its settings at import.
    from infra.local.aws import corrections

    application = corrections.apply_all(options.state)
    door = Door(key, corrections.issued, HOSTS | set(options.known_as))
    _publish_port(state_dir, port)
    asyncio.run(_serve(behind(door, application), listener))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Local AWS: ministack with corrections.")
    parser.add_argument("--host", default="127.0.0.1", help="the address to bind; 0.0.0.0 in a container")
    parser.add_argument("--known-as", action="append", default=[], help="another host name to accept, for a container")
    parser.add_argument("--port", type=int, default=int(os.environ.get("DYNALAKE_LOCAL_PORT", "0")))
    parser.add_argument("--time-scale", type=float, default=float(os.environ.get(TIME_SCALE_VARIABLE, "60")))
    parser.add_argument("--state-dir", type=Path, required=True, help="the folder for all files of the server")
    parser.add_argument("--state", type=Path, help="a saved state to start with")
    parser.add_argument("--auth", action="store_true", help="enforce IAM")
    parser.add_argument("--ends-with-stdin", action="store_true", help="end when standard input closes")
    return parser.parse_args()


def _configure(state_dir: Path, host: str, port: int, time_scale: float, key: str, *, auth: bool) -> None:
    temporary = state_dir / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    os.environ.update(
        {
            "BIND_HOST": host,
            "GATEWAY_PORT": str(port),
            "TMPDIR": str(temporary),
            "S3_DATA_DIR": str(state_dir / "s3"),
            "STATE_DIR": str(state_dir / "state"),
            # These listen on fixed ports: two servers on one machine would collide.
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            TIME_SCALE_VARIABLE: str(time_scale),
            "AUTH": "true" if auth else "false",
            # ministack accepts this key as the account's root.
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": key,
        }
    )
    os.environ.setdefault("LOG_LEVEL", "WARNING")
    tempfile.tempdir = str(temporary)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _publish_port(state_dir: Path, port: int) -> None:
    draft = state_dir / "port.draft"
    draft.write_text(str(port))
    draft.rename(state_dir / "port")


def _end_with_parent(state_dir: Path) -> None:
    # Not sys.stdin: a thread that waits in it would hold its lock when the interpreter ends.
    while os.read(0, 4096):
        pass
    shutil.rmtree(state_dir, ignore_errors=True)
    # The parent made this process the leader of a group that includes the Lambda workers.
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


async def _serve(application: Any, listener: socket.socket) -> None:
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.keep_alive_timeout = 75
    config.loglevel = "WARNING"
    config.graceful_timeout = 0.5
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    await serve(application, config, shutdown_trigger=stopping.wait)


if __name__ == "__main__":
    main()
