"""`make demo`: a table, the whole pipeline through Airflow's own scheduler, SQL, and a comparison with the source.

    python -m infra.local.demo [--items file.json --key year:N,title:S]

Exits 0 when every item that SQL returns equals the item in DynamoDB, 1 when one does not or something failed, and 130
after Ctrl-C. Nothing is left running and nothing outside the repository is written.
"""

from __future__ import annotations

import sys

from infra.local.run.interrupt import stop_once


def main() -> int:
    stop_once()
    try:
        # After `stop_once`: importing what the demo needs takes seconds, in which somebody may change their mind.
        from infra.local.demo.run import run

        return run(sys.argv[1:])
    except KeyboardInterrupt:
        print("Stopped; everything is cleaned up.", flush=True)
        return 130


if __name__ == "__main__":
    sys.exit(main())
