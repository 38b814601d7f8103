"""`make demo`: run a table through the whole pipeline in Airflow, query it with SQL, and compare it with the source.

    python -m infra.local.demo [--items file.json --key year:N,title:S] [--keep]

The exit code is 0 if SQL returns every item exactly as DynamoDB has it, 1 if an item differs or something failed, and
130 after Ctrl-C. It leaves nothing running, unless `--keep` leaves what `make up` starts, and
writes nothing outside the repository.
"""

from __future__ import annotations

import sys

from infra.local.run.interrupt import until_stopped


def main() -> int:
    # Imported here because it takes seconds, and Ctrl-C must work in the meantime.
    from infra.local.demo.run import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(until_stopped(main))
