"""The demo, from its first item to the comparison."""

from __future__ import annotations

import argparse
import os
import re
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

from dynalake.names import TABLE_PATTERN
from infra.local.demo import receipts
from infra.local.demo.formats import FORMATS, ItemsError
from infra.local.demo.items import Loaded, changes, generated, load_items
from infra.local.demo.progress import DemoFailed, Screen, follow
from infra.local.demo.queries import Lake, show_results
from infra.local.demo.writing import Progress, apply_changes, create_table, write_items
from infra.local.run import up
from infra.local.run.airflow import USER, AirflowClient, LocalAirflow
from infra.local.run.keeper import REPOSITORY, UP, read_environment
from infra.local.run.process import LocalAws

GENERATED_ITEMS = 20_000
MOST_CHANGES = 3_000
SEED = 1
DAGS = {"dynalake_setup", "dynalake_backfill", "dynalake_convert"}


def run(arguments: Sequence[str]) -> int:
    """Run the demo with these command-line arguments; return the exit code."""
    parser = argparse.ArgumentParser(prog="make demo", description="Run the whole pipeline on this machine.")
    parser.add_argument("--items", type=Path, help=f"a file of items: {FORMATS}")
    parser.add_argument("--key", default="", help="the items' key, as name:type[,name:type], such as year:N,title:S")
    parser.add_argument("--count", type=int, default=GENERATED_ITEMS, help="how many items to generate")
    parser.add_argument("--keep", action="store_true", help="leave everything running, as `make up` does")
    options = parser.parse_args(arguments)
    screen = Screen()
    try:
        table, loaded = _items(options.items, options.key, options.count)
        screen.title(f"dynalake demo: {len(loaded.items):,} items of {table} from DynamoDB to SQL, on this machine")
        if loaded.repeated:
            screen.line(f"{loaded.repeated:,} items of the file have the key of a later one, which replaces them")
        same = _kept(screen, table, loaded) if options.keep else _in_own_folder(screen, table, loaded)
    except ItemsError as error:
        print(f"{error}", file=sys.stderr)
        return 1
    return 0 if same else 1


def _items(path: Path | None, key: str, count: int) -> tuple[str, Loaded]:
    if path is None:
        if key:
            raise ItemsError(f"KEY is {key!r}, and there is no ITEMS. Needed: both, or neither for generated items.")
        return receipts.TABLE, generated(count, SEED)
    table = path.name.partition(".")[0]
    if not re.fullmatch(TABLE_PATTERN, table):
        raise ItemsError(
            f"{path} would be the table {table!r}. Needed: a file name that begins with at least 3 letters, digits, "
            "'_' or '-', and nothing else before its first '.'."
        )
    return table, load_items(path, key)


def _in_own_folder(screen: Screen, table: str, loaded: Loaded) -> bool:
    """Run the demo in a new folder below .local and remove the folder; after a failure, keep the logs."""
    local = REPOSITORY / ".local"
    # The name is known before the folder exists, so the folder is removed whenever the demo stops.
    home = local / f"demo-{os.getpid()}"
    try:
        home.mkdir(mode=0o700, parents=True)
        with LocalAws(home / "aws.log", state_dir=home) as aws, LocalAirflow(home / "airflow", aws.env()) as airflow:
            with ThreadPoolExecutor(1) as background:
                loading = background.submit(_load, _clients(aws.env())("dynamodb"), table, loaded)
                for missing in airflow.wait_ready(DAGS):
                    screen.status(f"starting {missing} at {airflow.url}")
                loading.result()
            login = f"login {USER} / {airflow.identity.password}"
            screen.line(f"Airflow at {airflow.url} ({login}), local AWS at {aws.endpoint_url}")
            for dag in sorted(DAGS):
                airflow.client.unpause(dag)
            return _pipeline(screen, airflow.client, aws.env(), table, loaded)
    except (DemoFailed, RuntimeError, OSError) as error:
        logs = local / "demo-failed"
        shutil.rmtree(logs, ignore_errors=True)
        home.rename(logs)
        screen.line(f"✗ {error}")
        screen.line(f"Logs: {logs.relative_to(REPOSITORY)}")
        return False
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _kept(screen: Screen, table: str, loaded: Loaded) -> bool:
    """Run the demo on what `make up` starts, and leave it running."""
    same = False
    try:
        up.start()
        values = read_environment()
        dynamodb = _clients(values)("dynamodb")
        if table in {name for page in dynamodb.get_paginator("list_tables").paginate() for name in page["TableNames"]}:
            raise DemoFailed(f"There is a table {table} from an earlier demo: use it, or `make clean` for a new start")
        _load(dynamodb, table, loaded)
        airflow = AirflowClient(values["AIRFLOW_URL"], values["AIRFLOW_USER"], values["AIRFLOW_PASSWORD"])
        same = _pipeline(screen, airflow, values, table, loaded)
    except (DemoFailed, RuntimeError, OSError) as error:
        screen.line(f"✗ {error}")
    except KeyboardInterrupt:
        raise KeyboardInterrupt("Stopped; `make down` ends what is left running." if UP.pid else "Stopped.") from None
    if UP.pid is not None:
        print("\n  Everything is left running:", end="")
        up.show()
    return same


def _clients(aws: Mapping[str, str]) -> Callable[[str], Any]:
    session = boto3.Session(aws["AWS_ACCESS_KEY_ID"], aws["AWS_SECRET_ACCESS_KEY"], region_name="us-east-1")
    # boto3 types `client` by literal service names; the name is a variable here.
    make: Any = session.client
    return partial(make, endpoint_url=aws["AWS_ENDPOINT_URL"])


def _load(dynamodb: Any, table: str, loaded: Loaded) -> None:
    create_table(dynamodb, table, loaded.key)
    write_items(dynamodb, table, loaded.items)


def _pipeline(screen: Screen, airflow: AirflowClient, aws: Mapping[str, str], table: str, loaded: Loaded) -> bool:
    first_day = _today()
    client = _clients(aws)
    count = min(MOST_CHANGES, len(loaded.items))
    screen.line(f"{len(loaded.items):,} items in the DynamoDB table {table}, stream and point-in-time recovery on")

    screen.title("dynalake_setup: deploy the pipeline, prove it with a canary, register the tables")
    run = airflow.trigger("dynalake_setup", {"table": table})
    follow(airflow, screen, "dynalake_setup", run)

    screen.title(f"dynalake_backfill: read the existing items, while the demo writes {count:,} changes that it invents")
    screen.line("  (updates, new items and deletions, in this copy of the items alone)")
    written = deque([0], maxlen=1)
    with ThreadPoolExecutor(1) as background:
        writing = background.submit(_write_changes, client("dynamodb"), table, loaded, count, written.append)
        run = _backfill_run(airflow)
        follow(
            airflow,
            screen,
            "dynalake_backfill",
            run,
            meanwhile=lambda: f"{written[-1]:,} of {count:,} changes written",
        )
        writing.result()
    counts = airflow.result("dynalake_backfill", run, "commit")
    screen.line(
        f"  {counts['read']:,} items read = {counts['kept']:,} kept + {counts['filtered']:,} filtered; "
        f"{count:,} invented changes written in the meantime"
    )

    lake = Lake(client, aws, table)
    written_changes = len(loaded.items) + count
    landed = lake.wait_for_changes(written_changes, first_day, screen)
    screen.line(f"  {landed:,} changes landed in S3 through stream → Lambda → Kinesis → Firehose")

    screen.title("dynalake_convert: convert the landed changes to rows, as every ten minutes")
    run = airflow.trigger("dynalake_convert", {"tables": [table]})
    follow(airflow, screen, "dynalake_convert", run)

    screen.title("SQL with DuckDB on the Iceberg tables")
    return show_results(lake, screen, first_day, written_changes)


def _backfill_run(airflow: AirflowClient) -> str:
    """Return the run that the setup started."""
    runs = airflow.runs("dynalake_backfill")
    if not runs:
        raise DemoFailed("dynalake_setup succeeded but started no backfill")
    run: str = runs[0]["dag_run_id"]
    return run


def _write_changes(dynamodb: Any, table: str, loaded: Loaded, count: int, progress: Progress) -> None:
    """Update, insert and delete items; `updatedAt`, where an item has it, becomes the present time."""

    def now(_number: int) -> dict[str, str]:
        return {"N": str(int(datetime.now(UTC).timestamp() * 1000))}

    apply_changes(
        dynamodb,
        table,
        loaded.key,
        changes(loaded.items, loaded.key, seed=SEED, count=count, updated_at=now),
        progress,
    )


def _today() -> str:
    return datetime.now(UTC).strftime("%Y%m%d")
