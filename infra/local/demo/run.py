"""The demo, from its first item to the comparison."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import boto3

from infra.local.demo import receipts
from infra.local.demo.items import ItemsError, Loaded, changes, generated, load_items
from infra.local.demo.progress import DemoFailed, Screen, follow
from infra.local.demo.queries import Lake, show_results
from infra.local.demo.writing import Progress, apply_changes, create_table, write_items
from infra.local.run.airflow import REPOSITORY, LocalAirflow
from infra.local.run.process import LocalAws

GENERATED_ITEMS = 20_000
CHANGES = 3_000
SEED = 1
DAGS = {"dynalake_setup", "dynalake_backfill", "dynalake_convert"}


def run(arguments: Sequence[str]) -> int:
    """Run the demo with these command-line arguments; return the exit code."""
    parser = argparse.ArgumentParser(prog="make demo", description="Run the whole pipeline on this machine.")
    parser.add_argument("--items", type=Path, help="a JSON file with an array of objects")
    parser.add_argument("--key", default="", help="the items' key, as name:type[,name:type], such as year:N,title:S")
    parser.add_argument("--count", type=int, default=GENERATED_ITEMS, help="how many items to generate")
    options = parser.parse_args(arguments)
    try:
        table, loaded = _items(options.items, options.key, options.count)
    except ItemsError as error:
        print(f"{error}", file=sys.stderr)
        return 1
    return _run_in_own_folder(Screen(), table, loaded)


def _items(path: Path | None, key: str, count: int) -> tuple[str, Loaded]:
    if path is None:
        return receipts.TABLE, generated(count, SEED)
    return path.stem, load_items(path, key)


def _run_in_own_folder(screen: Screen, table: str, loaded: Loaded) -> int:
    """Run the demo in a new folder below .local and remove the folder; after a failure, keep the logs."""
    local = REPOSITORY / ".local"
    # The name is known before the folder exists, so the folder is removed whenever the demo stops.
    home = local / f"demo-{os.getpid()}"
    try:
        home.mkdir(mode=0o700, parents=True)
        same = _demo(screen, home, table, loaded)
    except (DemoFailed, RuntimeError, OSError) as error:
        logs = local / "demo-failed"
        shutil.rmtree(logs, ignore_errors=True)
        home.rename(logs)
        screen.line(f"✗ {error}")
        screen.line(f"Logs: {logs.relative_to(REPOSITORY)}")
        return 1
    finally:
        shutil.rmtree(home, ignore_errors=True)
    return 0 if same else 1


def _demo(screen: Screen, home: Path, table: str, loaded: Loaded) -> bool:
    screen.title(f"dynalake demo: {len(loaded.items):,} items of {table} from DynamoDB to SQL, on this machine")
    with LocalAws(home / "aws.log", state_dir=home) as aws, LocalAirflow(home / "airflow", aws.env()) as airflow:
        session = boto3.Session(aws.key, aws.key, region_name="us-east-1")
        # boto3 types `client` by literal service names; the name is a variable here.
        make: Any = session.client
        client = partial(make, endpoint_url=aws.endpoint_url)
        with ThreadPoolExecutor(1) as background:
            loading = background.submit(_load, client("dynamodb"), table, loaded)
            for missing in airflow.wait_ready(DAGS):
                screen.status(f"starting {missing} at {airflow.url}")
            screen.line(f"Airflow at {airflow.url} (login admin / {airflow.password}), local AWS at {aws.endpoint_url}")
            loading.result()
        screen.line(f"{len(loaded.items):,} items in the DynamoDB table {table}, stream and point-in-time recovery on")
        return _pipeline(screen, airflow, client, aws.env(), table, loaded)


def _load(dynamodb: Any, table: str, loaded: Loaded) -> None:
    create_table(dynamodb, table, loaded.key)
    write_items(dynamodb, table, loaded.items)


def _pipeline(
    screen: Screen,
    airflow: LocalAirflow,
    client: Callable[[str], Any],
    aws: Mapping[str, str],
    table: str,
    loaded: Loaded,
) -> bool:
    first_day = _today()
    for dag in sorted(DAGS):
        airflow.client.unpause(dag)

    screen.title("dynalake_setup: deploy the pipeline, prove it with a canary, register the tables")
    run = airflow.client.trigger("dynalake_setup", {"table": table})
    follow(airflow.client, screen, "dynalake_setup", run)

    screen.title(f"dynalake_backfill: read the existing items while {CHANGES:,} changes are written")
    written = deque([0], maxlen=1)
    with ThreadPoolExecutor(1) as background:
        writing = background.submit(_write_changes, client("dynamodb"), table, loaded, written.append)
        run = _backfill_run(airflow)
        follow(
            airflow.client,
            screen,
            "dynalake_backfill",
            run,
            meanwhile=lambda: f"{written[-1]:,} of {CHANGES:,} changes written",
        )
        writing.result()
    counts = airflow.client.result("dynalake_backfill", run, "commit")
    screen.line(
        f"  {counts['read']:,} items read = {counts['kept']:,} kept + {counts['filtered']:,} filtered; "
        f"{CHANGES:,} changes written in the meantime"
    )

    lake = Lake(client, aws, table)
    written_changes = len(loaded.items) + CHANGES
    landed = lake.wait_for_changes(written_changes, first_day, screen)
    screen.line(f"  {landed:,} changes landed in S3 through stream → Lambda → Kinesis → Firehose")

    screen.title("dynalake_convert: convert the landed changes to rows, as every ten minutes")
    run = airflow.client.trigger("dynalake_convert", {"tables": [table]})
    follow(airflow.client, screen, "dynalake_convert", run)

    screen.title("SQL with DuckDB on the Iceberg tables")
    return show_results(lake, screen, first_day, written_changes)


def _backfill_run(airflow: LocalAirflow) -> str:
    """Return the run that the setup started."""
    runs = airflow.client.runs("dynalake_backfill")
    if not runs:
        raise DemoFailed("dynalake_setup succeeded but started no backfill")
    run: str = runs[0]["dag_run_id"]
    return run


def _write_changes(dynamodb: Any, table: str, loaded: Loaded, progress: Progress) -> None:
    """Update, insert and delete items; `updatedAt`, where an item has it, becomes the present time."""

    def now(_number: int) -> dict[str, str]:
        return {"N": str(int(datetime.now(UTC).timestamp() * 1000))}

    apply_changes(
        dynamodb,
        table,
        loaded.key,
        changes(loaded.items, loaded.key, seed=SEED, count=CHANGES, updated_at=now),
        progress,
    )


def _today() -> str:
    return datetime.now(UTC).strftime("%Y%m%d")
