"""`make conformance`: ask an AWS account what documentation leaves open, and take a small table through its life.

    python -m infra.conformance [--local] [--yes] [--only NAME]

The exit code is 0 if every experiment got an answer and SQL returns what was written, 1 if not, and 130 after Ctrl-C.
"""

from __future__ import annotations

import sys

from infra.local.run.interrupt import stop_once


def main() -> int:
    stop_once()
    try:
        # After `stop_once`: importing what it needs takes seconds, in which somebody may change their mind.
        from infra.conformance.run import run

        return run(sys.argv[1:])
    except KeyboardInterrupt:
        print("Stopped; everything is cleaned up.", flush=True)
        return 130


if __name__ == "__main__":
    sys.exit(main())
