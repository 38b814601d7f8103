"""A user's mistakes stop the first task of a setup, with one message that says what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dynalake.names import TableNames

CASES: dict[str, tuple[dict[str, object], tuple[str, ...]]] = {
    "unknown table": (
        {"table": "BAD_RECEIPT"},
        ("SourceError: There is no DynamoDB table 'BAD_RECEIPT'", "BAD_RECEIPTS", "check the name"),
    ),
    "stream off": (
        {"table": "BAD_NO_STREAM"},
        ("SourceError: The stream of table 'BAD_NO_STREAM' is off", "NEW_AND_OLD_IMAGES", "enable_stream"),
    ),
    "keys only": (
        {"table": "BAD_KEYS_ONLY"},
        ("has the view type KEYS_ONLY", "NEW_IMAGE", "aws dynamodb update-table"),
    ),
    "old image": (
        {"table": "BAD_OLD_IMAGE"},
        ("has the view type OLD_IMAGE", "NEW_IMAGE", "aws dynamodb update-table"),
    ),
    "no connection": (
        {"table": "BAD_RECEIPTS", "environment": "nobody"},
        ("AccessError: There is no Airflow connection 'aws_of_nobody'", "type 'aws'", "Admin → Connections"),
    ),
    "other settings": (
        {"table": "BAD_RECEIPTS", "buffer_seconds": 300},
        ("is already set up with other settings: buffer_seconds is 60, requested is 300", "update_settings=true"),
    ),
    "other options of the lake": (
        {"table": "BAD_RECEIPTS", "noncurrent_days": 1},
        ("is already set up with other options: noncurrent_days is '30', requested is '1'", "update_settings=true"),
    ),
    "a key of another account": (
        {"table": "BAD_RECEIPTS", "kms_key_arn": "arn:aws:kms:us-east-1:999999999999:key/one"},
        ("SettingsError: kms_key_arn is 'arn:aws:kms:us-east-1:999999999999:key/one'", "the lake's own account"),
    ),
    "glue name taken": (
        {"table": "Bad_Receipts"},
        ("NameTakenError: Tables 'Bad_Receipts' and 'BAD_RECEIPTS' would share the Glue name", "another environment"),
    ),
    "direct with shards": (
        {"table": "BAD_RECEIPTS", "delivery": "direct", "shards": 2},
        (
            "SettingsError: Settings that are not allowed: 'shards' is set, but delivery 'direct'",
            "trigger the DAG again",
        ),
    ),
}


@pytest.fixture(scope="module")
def runs(airflow: Any, make_table: Callable[..., str], make_set_up: Callable[..., TableNames]) -> dict[str, str]:
    """All cases at once, after a successful setup of one table."""
    make_set_up("BAD_RECEIPTS")
    make_table("Bad_Receipts")
    make_table("BAD_NO_STREAM", None)
    make_table("BAD_KEYS_ONLY", "KEYS_ONLY")
    make_table("BAD_OLD_IMAGE", "OLD_IMAGE")
    # Airflow's API server logs a request in its event loop. With SQLite it waits there for the lock of a task's
    # request, which cannot end meanwhile: both, and the scheduler, would stand still until the lock times out.
    with airflow.client.paused("dynalake_setup"):
        return {name: airflow.start("dynalake_setup", **conf) for name, (conf, _) in CASES.items()}


@pytest.mark.parametrize("case", CASES)
def test_the_first_task_says_what_is_wrong(case: str, runs: dict[str, str], airflow: Any) -> None:
    assert airflow.wait("dynalake_setup", runs[case]) == "failed"
    tasks = {task["task_id"]: task for task in airflow.client.tasks("dynalake_setup", runs[case])}
    assert [name for name, task in tasks.items() if task["state"] == "failed"] == ["check_source"]
    assert tasks["check_source"]["try_number"] == 1, "a retry cannot help"
    others = {name: task["state"] for name, task in tasks.items() if name != "check_source"}
    assert (others.pop("choose_tables"), others.pop("set_up_each")) == ("success", "skipped")
    assert set(others.values()) == {"upstream_failed"}
    log = airflow.failures("dynalake_setup", runs[case])["check_source"]
    for part in CASES[case][1]:
        assert part in log
    assert log.count("What to do: ") == 1


@pytest.mark.parametrize(("parameter", "value"), [("buffer_mb", 4096), ("environment", "prod")])
def test_a_form_value_outside_its_limits_is_refused_at_once(airflow: Any, parameter: str, value: object) -> None:
    from infra.local.run.airflow import AirflowRequestError

    with pytest.raises(AirflowRequestError, match=parameter) as refused:
        airflow.start("dynalake_setup", table="BAD_RECEIPTS", **{parameter: value})
    assert refused.value.status == 400


def test_backfill_and_compaction_of_a_table_that_is_not_set_up(airflow: Any) -> None:
    backfill = airflow.start("dynalake_backfill", table="BAD_NO_STREAM")
    compact = airflow.start("dynalake_compact", tables=["BAD_NO_STREAM"])
    assert airflow.wait("dynalake_backfill", backfill) == "failed"
    assert airflow.wait("dynalake_compact", compact) == "failed"
    assert "is not set up in the lake 'dev'" in airflow.failures("dynalake_backfill", backfill)["plan"]
    assert "is not set up in the lake 'dev'" in airflow.failures("dynalake_compact", compact)["tables"]
    assert airflow.states("dynalake_compact", compact)["compact"] == "upstream_failed"
