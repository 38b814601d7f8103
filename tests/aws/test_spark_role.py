"""The Glue job's role under enforced IAM: the template grants what a conversion and a night need."""

from __future__ import annotations

import json
from collections.abc import Iterator

import boto3
import pytest

from dynalake.aws.clients import Clients
from dynalake.lake.catalog.table import Table
from dynalake.lake.tables.make import make_tables
from dynalake.names import Lake
from dynalake.night.night import Requests
from dynalake.options.settings import TableSettings
from dynalake.spark.request import COMPACT
from dynalake.spark.work import night
from infra.local.run.process import LocalAws
from tests.aws.spark_steps import KEY, convert_due, convert_here, fill_first, fill_second, on_glue, run_job
from tests.support.aws.lake import deploy_job
from tests.support.machine import need

# Not the default, so that a grant that names the default fails.
LAKE = Lake("guarded", "000000000000", "us-east-1", prefix="lake/raw")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    """The account's root, on a local AWS that enforces IAM."""
    with LocalAws(tmp_path_factory.mktemp("spark-role") / "server.log", auth=True) as aws:
        session = boto3.Session(aws.key, aws.key, region_name=LAKE.region)
        yield Clients.of(session, endpoint_url=lambda service: aws.endpoint_url)


@pytest.fixture
def table(root: Clients) -> Table:
    root.s3.create_bucket(Bucket=LAKE.bucket)
    root.glue.create_database(DatabaseInput={"Name": LAKE.database})
    settings = TableSettings("RECEIPTS", orc_copy=True, history_days=60, snapshot_days=1)
    names = LAKE.table("RECEIPTS")
    options = {"bucket": LAKE.bucket, "prefix": LAKE.prefix, "raw_retention_days": 8}
    for name, value in ((LAKE.lake_parameter, json.dumps(options)), (names.settings_parameter, settings.to_json())):
        root.ssm.put_parameter(Name=name, Type="String", Value=value)
    deploy_job(root, LAKE)
    table = Table(root, names)
    make_tables(table, KEY, "arn")
    return table


def test_a_conversion_and_a_night_in_the_role_of_the_job(table: Table) -> None:
    need("java")
    fill_first(table)
    convert_due(table, convert_here)
    fill_second(table)
    assert convert_due(table, on_glue).sums.rejected == 1
    outcome = run_job(table, COMPACT, night(Requests(fold=True, scrub=True)))

    assert outcome["faults"] == []
    log = "\n".join(outcome["said"])
    for part in ("files became 1", "Columns with new types", "receipts_orc: 2", "Folded the state", "findings"):
        assert part in log
