"""A partition takes no more memory than another that is a tenth of it, and leaves nothing on disk."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
MEGABYTES = int(os.environ.get("DYNALAKE_MEMORY_MB", "200"))
"""Of JSON: many times what the conversion may hold of it."""

MEMORY_MB = 32


def test_memory_does_not_grow_with_the_partition(tmp_path: Path) -> None:
    """First some small objects, then one large object, in one process whose peak is told after each."""
    path = os.pathsep.join(str(ROOT / folder) for folder in ("", "plugins", "lambda_src"))
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.bounded", str(MEGABYTES), str(MEMORY_MB)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=1500,
    )
    assert ran.returncode == 0, ran.stderr
    (few, _, _), (many, disk, rows) = [map(int, line.split()) for line in ran.stdout.splitlines()]
    assert rows > 350_000 * MEGABYTES // 200
    assert many - few < 3 * MEMORY_MB, f"{few} MB for a tenth, {many} MB for {MEGABYTES} MB"
    assert many < 500
    assert MEMORY_MB < disk < MEGABYTES, f"{disk} MB were spilled"
    assert list(tmp_path.iterdir()) == []
