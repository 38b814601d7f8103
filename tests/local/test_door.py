"""Local AWS runs Lambda code as the developer, so no web page and no other user of the machine may use it."""

from __future__ import annotations

import base64
import http.client
import io
import json
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import boto3
import pytest
from botocore.config import Config

from infra.local.aws.door import KEY_VARIABLE, authorization
from infra.local.run.keeper import REPOSITORY
from infra.local.run.process import LocalAws
from tests.local.roles import ROLE

WHOAMI = "import os\ndef handler(event, context):\n    return os.getuid()\n"


def function(name: str) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("index.py", WHOAMI)
    code = {"ZipFile": base64.b64encode(archive.getvalue()).decode()}
    return json.dumps(
        {"FunctionName": name, "Runtime": "python3.12", "Handler": "index.handler", "Role": ROLE, "Code": code}
    ).encode()


def send(aws: LocalAws, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> http.client.HTTPResponse:
    """Send a request as a browser or a socket does, with nothing added except what HTTP needs."""
    connection = http.client.HTTPConnection("127.0.0.1", aws.port, timeout=30)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in {"Host": f"127.0.0.1:{aws.port}", "Content-Length": str(len(body)), **headers}.items():
        connection.putheader(name, value)
    connection.endheaders(body)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer


STRANGERS: dict[str, Mapping[str, str]] = {
    "page": {"Origin": "https://evil.example"},
    "frame": {"Origin": "null"},
    "own-port": {"Origin": "http://127.0.0.1"},
    "link": {"Sec-Fetch-Site": "cross-site"},
    "neighbour": {"Sec-Fetch-Site": "same-site"},
    "rebound": {"Host": "evil.example"},
    "rebound-like": {"Host": "127.0.0.1.evil.example:4566"},
    "no-key": {"Authorization": ""},
    "test": authorization("test"),
    "account": authorization("000000000000"),
    "guessed": authorization("LOCAL0123456789ABCDEF01234567"),
}


@pytest.mark.parametrize("stranger", STRANGERS)
def test_a_stranger_cannot_run_code(
    local_aws: LocalAws, client: Callable[[str], Any], name: str, stranger: str
) -> None:
    """A page may send a POST of text/plain without a preflight; the same request with only the key passes.

    https://developer.mozilla.org/en-US/docs/Web/HTTP/Guides/CORS#simple_requests
    """
    right = {"Content-Type": "text/plain", **authorization(local_aws.key)}
    path = "/2015-03-31/functions"
    response = send(local_aws, "POST", path, function(name), {**right, **STRANGERS[stranger]})
    assert response.status == 403
    functions = {configuration["FunctionName"] for configuration in client("lambda").list_functions()["Functions"]}
    assert name not in functions
    assert send(local_aws, "POST", path, function(name), right).status == 201


def test_no_web_page_may_read_a_response(local_aws: LocalAws) -> None:
    right = authorization(local_aws.key)
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    assert send(local_aws, "OPTIONS", "/", b"", {**right, **headers}).status == 403
    answered = send(local_aws, "GET", "/", b"", right)
    assert answered.status == 200
    assert not [name for name in answered.headers if name.lower().startswith("access-control-")]


@pytest.mark.parametrize("path", ["/_ministack/reset", "/_dynalake/faults", "/_ministack/health"])
def test_the_administrative_endpoints_ask_for_the_key(local_aws: LocalAws, path: str) -> None:
    assert send(local_aws, "DELETE", path, b"", {}).status == 403


@pytest.mark.parametrize("signature", ["s3v4", "s3"])
def test_a_presigned_url_needs_no_key(
    local_aws: LocalAws, client: Callable[..., Any], bucket: str, signature: str
) -> None:
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/ShareObjectPreSignedURL.html"""
    client("s3").put_object(Bucket=bucket, Key="a b", Body=b"shared")
    s3 = client("s3", config=Config(signature_version=signature))
    url = s3.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "a b"})
    # As a browser requests a pasted URL.
    request = urllib.request.Request(url, headers={"Sec-Fetch-Site": "none"})
    assert urllib.request.urlopen(request, timeout=30).read() == b"shared"
    with pytest.raises(HTTPError, match="403"):
        urllib.request.urlopen(url.replace(local_aws.key, "test"), timeout=30)


def test_lambda_code_and_other_accounts_get_in(
    local_aws: LocalAws, client: Callable[[str], Any], make_function: Callable[..., str], name: str
) -> None:
    source = (
        "import boto3\ndef handler(event, context):\n    return boto3.client('sts').get_caller_identity()['Account']\n"
    )
    make_function(name, source)
    answer = client("lambda").invoke(FunctionName=name)
    assert json.loads(answer["Payload"].read()) == "000000000000"
    session = boto3.Session("111122223333", "-", local_aws.key, region_name="us-east-1")
    sts = session.client("sts", endpoint_url=local_aws.endpoint_url)
    assert sts.get_caller_identity()["Account"] == "111122223333"


def test_each_run_has_its_own_key_that_no_process_list_shows(local_aws: LocalAws, tmp_path: Path) -> None:
    assert LocalAws(tmp_path / "log").key != local_aws.key
    assert len(local_aws.key) > 20
    command = Path(f"/proc/{local_aws.pid}/cmdline").read_bytes()
    assert b"infra.local.aws.server" in command
    assert local_aws.key.encode() not in command


def test_a_server_without_a_key_does_not_start(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "infra.local.aws.server", "--state-dir", str(tmp_path)]
    process = subprocess.run(command, cwd=REPOSITORY, env={}, capture_output=True, text=True, check=False)
    assert process.returncode == 1
    assert f"{KEY_VARIABLE} must be the access key of this run" in process.stderr
