"""How an error of a task reaches Airflow: terminal errors fail at once, and say what to do."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock
from urllib.parse import parse_qs, urlsplit

import pytest
from airflow.sdk.exceptions import AirflowException
from botocore.exceptions import ClientError, NoCredentialsError

from dynalake.aws.clients import Clients
from dynalake.capture.proof.hand_off import HandOff
from dynalake.errors import NotReadyError, SettingsError
from dynalake.operators.task import session
from dynalake.operators.task.session import guarded
from dynalake.options.lakes import LakeEntry
from infra.local.run.process import LocalAws

try:
    from airflow.sdk.exceptions import AirflowSkipException
except ImportError:  # Airflow 3.1
    from airflow.exceptions import AirflowSkipException  # type: ignore[no-redef]

REFUSED = (
    "User: arn:aws:iam::1:user/etl is not authorized to perform: ssm:GetParameter "
    "on resource: arn:aws:ssm:x:1:parameter/y because no identity-based policy allows the ssm:GetParameter action"
)


def running(try_number: int, pushed: dict[str, Any]) -> Any:
    """Return the used part of a task instance."""
    return SimpleNamespace(try_number=try_number, xcom_push=pushed.__setitem__)


@pytest.fixture(autouse=True)
def run_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYNALAKE_LAKES", '{"prod": {"connection": "aws_of_prod"}}')
    monkeypatch.setattr(session, "parameters", lambda: {"environment": "prod"})
    monkeypatch.setattr(session, "get_current_context", lambda: {"ti": running(2, {})})


def aws(code: str, message: str = "", status: int = 400) -> ClientError:
    answer: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "GetParameter")


@pytest.mark.parametrize(
    ("raised", "at_once", "says"),
    [
        (SettingsError("no", action="say yes"), True, "SettingsError: no. What to do: say yes."),
        (NotReadyError("wait"), False, "NotReadyError: wait."),
        (aws("AccessDeniedException", REFUSED), True, "AccessError: AWS refuses ssm:GetParameter on arn:aws:ssm:x:1"),
        (
            NoCredentialsError(),
            True,
            "AccessError: The credentials of the AWS connection 'aws_of_prod' cannot be loaded",
        ),
        (aws("ThrottlingException"), False, "UnavailableError: AWS throttles GetParameter"),
        (aws("InternalServerError", status=500), False, "UnavailableError: AWS fails at GetParameter (500"),
    ],
)
def test_errors_fail_or_are_retried_and_are_logged(
    raised: Exception, at_once: bool, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    @guarded
    def work() -> None:
        raise raised

    with pytest.raises(AirflowException) as caught:
        work()
    # This class's module depends on Airflow's version.
    assert (type(caught.value).__name__ == "AirflowFailException") == at_once
    assert str(caught.value).startswith(says)
    assert says.split(". ")[0].removesuffix(".") in caplog.text


def test_a_denied_call_is_tried_once_more(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A new grant may not be effective yet; missing credentials stay missing."""
    monkeypatch.setattr(session, "get_current_context", lambda: {"ti": running(1, {})})

    def outcome(raised: Exception) -> str:
        @guarded
        def work() -> None:
            raise raised

        with pytest.raises(AirflowException) as caught:
            work()
        return type(caught.value).__name__

    assert outcome(NoCredentialsError()) == "AirflowFailException"
    assert "tried once more" not in caplog.text
    assert outcome(aws("AccessDeniedException", REFUSED)) == "AirflowException"
    assert "tried once more" in caplog.text


def test_an_error_is_left_to_the_run_s_note(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even one that Airflow cannot store fails the task by itself."""
    pushed: dict[str, Any] = {}
    monkeypatch.setattr(session, "get_current_context", lambda: {"ti": running(2, pushed)})

    def raises(error: Exception) -> None:
        with pytest.raises(Exception, match="no"):
            guarded(Mock(side_effect=error, __name__="work"))()

    raises(SettingsError("no", allowed="yes", action="say yes"))
    assert pushed == {"error": {"received": "no", "allowed": "yes", "action": "say yes"}}
    raises(KeyError("no"))
    assert pushed == {"error": {"received": "KeyError: 'no'", "allowed": "", "action": ""}}
    pushed.clear()
    raises(AirflowSkipException("no"))
    assert pushed == {}
    full = SimpleNamespace(try_number=2, xcom_push=Mock(side_effect=ConnectionError))
    monkeypatch.setattr(session, "get_current_context", lambda: {"ti": full})
    raises(KeyError("no"))


@pytest.mark.parametrize("raised", [aws("ResourceNotFoundException"), ValueError("mine")])
def test_other_errors_are_raised_unchanged(raised: Exception) -> None:
    @guarded
    def work() -> None:
        raise raised

    with pytest.raises(type(raised)) as caught:
        work()
    assert caught.value is raised


def test_one_session_makes_all_clients(local_aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    """The role is assumed once, with the connection's region, endpoints and retries."""
    extra = {
        "role_arn": "arn:aws:iam::123456789012:role/etl",
        "region_name": "eu-west-1",
        "service_config": {"glue": {"endpoint_url": "http://127.0.0.1:1"}},
        "config_kwargs": {"max_pool_connections": 3},
    }
    monkeypatch.setenv("AIRFLOW_CONN_AWS_OF_A_ROLE", json.dumps({"conn_type": "aws", "extra": extra}))
    for name, value in local_aws.env().items():
        monkeypatch.setenv(name, value)
    clients = session.clients_of(LakeEntry(connection="aws_of_a_role"))
    urls = [
        clients.sts.generate_presigned_url("get_caller_identity"),
        clients.ssm.generate_presigned_url("get_parameter", {"Name": "x"}),
    ]
    keys = {parse_qs(urlsplit(url).query)["X-Amz-Credential"][0].split("/")[0] for url in urls}
    assert len(keys) == 1
    assert keys != {local_aws.env()["AWS_ACCESS_KEY_ID"]}
    assert clients.ssm.meta.region_name == "eu-west-1"
    assert clients.glue.meta.endpoint_url == "http://127.0.0.1:1"
    settings: Any = clients.ssm.meta.config
    assert (settings.max_pool_connections, settings.retries["mode"]) == (3, "adaptive")
    elsewhere = session.clients_of(LakeEntry(connection="aws_of_a_role", region="eu-central-1"))
    assert elsewhere.ssm.meta.region_name == "eu-central-1", "a lake's region takes precedence over the connection's"


def test_the_note_of_the_run_says_that_the_lake_is_missing(clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that finds nothing to do because it reads another place must not just succeed."""
    pushed: dict[str, Any] = {}
    monkeypatch.setattr(session, "parameters", lambda: {"environment": "nowhere", "tables": []})
    monkeypatch.setattr(session, "get_current_context", lambda: {"ti": running(1, pushed)})
    assert session.table_list(clients) == []
    assert pushed["outcome"]["text"] == "Nothing to do: there is no lake 'nowhere'"
    assert "correct DYNALAKE_LAKES" in pushed["note"]


def test_what_a_run_says_names_the_dags_of_its_lake(monkeypatch: pytest.MonkeyPatch) -> None:
    pushed: dict[str, Any] = {}
    monkeypatch.setenv("DYNALAKE_LAKES", '{"prod": {}, "staging": {}}')
    context = {"ti": running(1, pushed), "params": {"environment": "staging"}}
    monkeypatch.setattr(session, "get_current_context", lambda: context)
    session.conclude("run dynalake_backfill")
    session.tell("unpause dynalake_convert", markdown=True)
    with pytest.raises(AirflowException, match=r"needs it. What to do: run dynalake_watch_staging\.$"):
        guarded(Mock(side_effect=SettingsError("dynalake_compact needs it", action="run dynalake_watch")))()
    assert pushed == {
        "outcome": {"text": "run dynalake_backfill (environment staging)", "links": []},
        "note": "unpause dynalake_convert_staging",
        "error": {
            "received": "dynalake_compact_staging needs it",
            "allowed": "",
            "action": "run dynalake_watch_staging",
        },
    }


def test_a_table_that_was_set_up_again_may_miss_changes() -> None:
    from dynalake.operators.setup import not_read

    second = HandOff("T", "two", datetime(2019, 5, 27, 8, 30, tzinfo=UTC))
    assert not_read(second, "prod") == ""
    note = not_read(replace(second, lost_since=datetime(2019, 5, 25, 7, 9, 42, tzinfo=UTC)), "prod")
    assert '{"table": "T", "environment": "prod", "export_type": "incremental"' in note
    assert "read its stream until 2019-05-25 07:09 UTC" in note
    assert '"window_from": "2019-05-25T07:09:42Z", "window_to": "2019-05-27T08:45:00Z"' in note


def test_a_key_that_is_not_a_parameter_of_the_dag_is_refused() -> None:
    session.check_conf(["table", "openlineage"], ["table", "environment"])
    with pytest.raises(
        SettingsError, match=r"'tabel'\. Did you mean 'days' and 'tables'\? Needed: only the keys days, t"
    ):
        session.check_conf(["dayz", "tabel", "days"], ["tables", "days"])
    with pytest.raises(SettingsError, match=r"conf has 'colour'\. Needed: only the keys days"):
        session.check_conf(["colour"], ["days"])
