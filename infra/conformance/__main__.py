"""`make conformance`: ask an AWS account what documentation leaves open, and take a small table through its life.

    python -m infra.conformance [--local] [--yes] [--only NAME]

The exit code is 0 if every experiment got an answer and SQL returns what was written, 1 if not, and 130 after Ctrl-C.
"""

from __future__ import annotations

import sys

from infra.local.run.interrupt import until_stopped


def main() -> int:
    # Imported here because it takes seconds, and Ctrl-C must work in the meantime.
    from infra.conformance.run import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(until_stopped(main))
