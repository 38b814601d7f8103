"""Write `dist/mwaa`, `dist/astronomer` and `dist/helm`, or one of them."""

from __future__ import annotations

import argparse
from pathlib import Path

from infra.bundle.bundle import MWAA_VERSIONS, PLACES, write_bundle


def main() -> None:
    """Write the bundles that the command names."""
    parser = argparse.ArgumentParser(prog="make bundle", description=__doc__)
    parser.add_argument("--for", dest="places", choices=PLACES, help="one of them; default: all")
    parser.add_argument(
        "--airflow", choices=MWAA_VERSIONS, default=MWAA_VERSIONS[-1], help="the Airflow of Amazon MWAA, as it names it"
    )
    options = parser.parse_args()
    for place in [options.places] if options.places else PLACES:
        folder = write_bundle(place, Path("dist") / place, options.airflow)
        print(f"{folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")


if __name__ == "__main__":
    main()
