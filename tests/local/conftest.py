"""One local AWS server for all tests in this folder, which use different names because they share it.

With `--real` the tests that are marked `real` use an AWS account instead, and the others are skipped.
"""

from __future__ import annotations

import gzip
import io
import uuid
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest

from infra.local.run.process import LocalAws
from tests.local.roles import ROLE
from tests.support.aws.connect import connect
from tests.support.aws.real import PREFIX, WHY, patient, sweep


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--real", action="store_true", help="ask the AWS account of the environment, not local AWS")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items if is_real(config) else ():
        if item.get_closest_marker("real") is None:
            item.add_marker(pytest.mark.skip(WHY))


def is_real(config: pytest.Config) -> bool:
    return bool(config.getoption("real", default=False))


@pytest.fixture(scope="session")
def client(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Any]]:
    """Makes a boto3 client of the named service that talks to local AWS, or with `--real` to an account."""
    if not is_real(request.config):
        yield connect(request.getfixturevalue("local_aws"))
        return
    session: Any = boto3.Session()
    make = patient(session.client)
    sweep(make)
    yield make
    sweep(make)


@pytest.fixture(scope="module")
def enforced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    """A local AWS that enforces IAM."""
    with LocalAws(tmp_path_factory.mktemp("access") / "server.log", auth=True) as aws:
        yield aws


@pytest.fixture(scope="module")
def root(enforced: LocalAws) -> Callable[[str], Any]:
    """Makes clients of the account's root, who may do anything."""
    session: Any = boto3.Session(enforced.key, enforced.key, region_name="us-east-1")
    return lambda service: session.client(service, endpoint_url=enforced.endpoint_url)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A name that no other test has, valid for every AWS resource."""
    return f"{PREFIX if is_real(request.config) else 't'}{uuid.uuid4().hex[:12]}"


@pytest.fixture
def fault(local_aws: LocalAws) -> Iterator[Callable[..., None]]:
    """Arms one injected failure; all are cleared after the test."""

    def arm(**description: Any) -> None:
        local_aws.call("POST", "/_dynalake/faults", description)

    yield arm
    local_aws.call("DELETE", "/_dynalake/faults")


@pytest.fixture
def bucket(client: Callable[[str], Any], name: str) -> str:
    """A new, empty bucket."""
    client("s3").create_bucket(Bucket=name)
    return name


@pytest.fixture
def objects(client: Callable[[str], Any]) -> Callable[..., dict[str, bytes]]:
    """Reads every object of a bucket below a prefix, gunzipped where its key says so."""
    s3 = client("s3")

    def read(bucket: str, prefix: str = "") -> dict[str, bytes]:
        contents = {}
        for entry in s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", []):
            body = s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
            contents[entry["Key"]] = gzip.decompress(body) if entry["Key"].endswith(".gz") else body
        return contents

    return read


@pytest.fixture
def make_function(client: Callable[[str], Any]) -> Callable[..., str]:
    """Creates a Lambda function from its source."""

    def make(function: str, source: str, **environment: str) -> str:
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("index.py", source)
        client("lambda").create_function(
            FunctionName=function,
            Runtime="python3.12",
            Handler="index.handler",
            Role=ROLE,
            Code={"ZipFile": archive.getvalue()},
            Environment={"Variables": environment},
            # The default is 3 s, which an invocation may take on a busy machine.
            Timeout=60,
        )
        return function

    return make


@pytest.fixture
def make_table(client: Callable[[str], Any]) -> Callable[..., str]:
    """Creates a table with the key `id` and a stream, and returns the stream's ARN."""

    def make(table: str, key_type: str = "S", view: str = "NEW_AND_OLD_IMAGES") -> str:
        description = client("dynamodb").create_table(
            TableName=table,
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": key_type}],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification={"StreamEnabled": True, "StreamViewType": view},
        )
        return str(description["TableDescription"]["LatestStreamArn"])

    return make
