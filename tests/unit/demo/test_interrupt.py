"""Ctrl-C ends the work once, and never the cleaning up."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
PRELUDE = "import os, signal\nfrom infra.local.run.interrupt import held, stop_once\nstop_once()\n"


def outcome(body: str) -> str:
    """What a program prints, in a process of its own, because signals belong to a process."""
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + body], cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=60
    )
    return done.stdout + done.stderr


def test_the_first_signal_stops_and_the_second_is_ignored() -> None:
    body = """
try:
    os.kill(os.getpid(), signal.SIGINT)
    print("went on")
except KeyboardInterrupt:
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)
    print("cleaned up")
"""
    assert outcome(body) == "cleaned up\n"


def test_a_signal_waits_for_the_held_section() -> None:
    body = """
try:
    with held():
        os.kill(os.getpid(), signal.SIGTERM)
        print("made and known")
    print("went on")
except KeyboardInterrupt:
    print("cleaned up")
"""
    assert outcome(body) == "made and known\ncleaned up\n"
