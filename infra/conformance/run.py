"""The command, from its confirmation to the report."""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from infra.conformance import delivery, mappings, permissions, tables
from infra.conformance.base import make_base
from infra.conformance.experiment import EXPERIMENTS, FAILED, Outcome, carry_out
from infra.conformance.lake import Life, live
from infra.conformance.leftovers import find_leftovers, remove
from infra.conformance.place import ENVIRONMENTS, Place, RefusedError
from infra.conformance.report import contents, write
from infra.conformance.scrub import Scrubber
from infra.local.demo.progress import Screen
from infra.local.run.keeper import REPOSITORY
from infra.local.run.process import LocalAws

__all__ = ["EXPERIMENTS", "delivery", "mappings", "permissions", "tables"]  # each module registers its experiments

HOME = REPOSITORY / ".local" / "conformance"
TABLE = "table"
THREADS = 8
INTENTION = """\
This creates, in account {account}, region {region}, in its own environment {environment}:

  - a small lake for one DynamoDB table of 200 items, as dynalake_setup creates it, with its roles
  - a few small resources for each of {count} experiments: DynamoDB tables, Kinesis streams with one shard, Firehose
    streams, Lambda functions, IAM roles, two buckets; all by CloudFormation, tagged dynalake:environment

It takes about an hour and costs about 50 US cents at list prices. Most of that is for the hours of a dozen Kinesis
shards and streams; the rest is for two exports, some minutes of alarms and metrics, and a few queries. At the end,
also after a failure or Ctrl-C, it removes everything. You need the rights of an administrator.
"""


def run(arguments: Sequence[str]) -> int:
    """Run the command; return the exit code: 0 if every experiment got an answer and the table is right."""
    parser = argparse.ArgumentParser(prog="make conformance")
    parser.add_argument("--local", action="store_true", help="start local AWS and run there")
    parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    parser.add_argument("--only", default="", help="run only the experiments with this prefix, or `table`")
    parser.add_argument("--report", type=Path, default=HOME, help="the folder for report.md and report.json")
    options = parser.parse_args(arguments)
    home = HOME / f"run-{os.getpid()}"
    try:
        home.mkdir(parents=True)
        with _place(home, local=options.local) as place:
            left = find_leftovers(place)
            if not options.local and not options.yes and not _confirmed(place, left.stacks + left.buckets):
                print("Nothing was created.")
                return 1
            screen = Screen()
            if left:
                screen.line("Removing the resources of an earlier run first")
                remove(place, screen.line)
            return _carry_out(place, home, screen, options.only, options.report)
    except (BotoCoreError, ClientError) as error:
        print(f"✗ {error}\nSet an administrator's credentials and a region, as for the AWS CLI.")
        return 1
    except (RefusedError, TimeoutError) as error:
        print(f"✗ The roles and buckets that all experiments share could not be created: {error}")
        return 1
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def _place(home: Path, *, local: bool) -> Iterator[Place]:
    environment = f"{ENVIRONMENTS}{secrets.token_hex(2)}"
    if local:
        with LocalAws(home / "aws.log", state_dir=home, auth=True) as aws:
            session: Any = boto3.Session(aws.key, aws.key, region_name="us-east-1")
            yield Place(session, environment, aws.env(), endpoint_url=aws.endpoint_url, time_scale=aws.time_scale)
        return
    session = boto3.Session()
    aws_variables = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    yield Place(session, environment, {**aws_variables, "AWS_DEFAULT_REGION": str(session.region_name)})


def _confirmed(place: Place, left: Sequence[str]) -> bool:
    print(
        INTENTION.format(
            account=place.account, region=place.region, environment=place.lake.environment, count=len(EXPERIMENTS)
        )
    )
    if left:
        print(f"First it removes resources of an earlier run, or of one that runs now: {', '.join(left)}\n")
    try:
        return input("Continue? Type yes: ").strip() == "yes"
    except EOFError:  # there is no terminal
        return False


def _carry_out(place: Place, home: Path, screen: Screen, only: str, folder: Path) -> int:
    running: list[Future[Outcome]] = []
    life, stopped = Life(), False
    chosen = [experiment for experiment in EXPERIMENTS if experiment.name.startswith(only)]
    pool = ThreadPoolExecutor(THREADS)
    try:
        screen.line(f"Creating roles and buckets in {place.lake.environment}")
        make_base(place)
        running += [pool.submit(carry_out, experiment, place) for experiment in chosen if not experiment.last]
        if only in ("", TABLE):
            live(place, home, life, screen.line)
        wait(running)
        running += [pool.submit(carry_out, experiment, place) for experiment in chosen if experiment.last]
        wait(running)
    except KeyboardInterrupt:
        stopped = True
        screen.line("Stopped")
    finally:
        place.stop()
        pool.shutdown(cancel_futures=True)
        place.go_on()
        problems = remove(place, screen.line)
    outcomes = [future.result() for future in running if not future.cancelled()]
    for outcome in outcomes:
        mark = "✗" if outcome.answer == FAILED else "✓" if outcome.as_local else "≠"
        screen.line(f"{mark} {outcome.experiment.name}: {outcome.answer}. {outcome.detail}")
    report = contents("local AWS" if place.local else "AWS", place.region, outcomes, life, problems)
    paths = write(folder, report, Scrubber([place.account, place.lake.bucket, *secrets_of(place.aws)]))
    screen.line(f"Report: {' and '.join(map(str, paths))}")
    if not life.fine and (home / "dags.log").exists():
        shutil.copy(home / "dags.log", HOME / "dags.log")
        screen.line(f"Airflow's log, which names the account: {HOME / 'dags.log'}")
    for problem in problems:
        screen.line(f"✗ Not removed: {problem}")
    if stopped:
        print("Everything that the run created is removed." if not problems else "")
        return 130
    return int(bool(problems) or not life.fine or any(outcome.answer == FAILED for outcome in outcomes))


def secrets_of(environment: Mapping[str, str]) -> list[str]:
    """Return the values of variables that no report may show."""
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE")
    return [environment[name] for name in names if len(environment.get(name, "")) > 4]
