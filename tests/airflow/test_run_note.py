"""The note of a run as the scheduler writes it, and what each DAG says or refuses where there is nothing to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dynalake.aws.clients import Clients
from dynalake.names import Lake
from dynalake.operators.task.note_text import MARK
from tests.support.airflow.dag_bag import newest_note
from tests.support.airflow.small_lake import add_table, make_lake, put

Run = Callable[..., dict[str, Any]]

LAKE = "notes"
ONE_TABLE = ("dynalake_backfill", "dynalake_redrive", "dynalake_teardown")
SEVERAL = ("dynalake_convert", "dynalake_compact", "dynalake_watch", "dynalake_certify")


@pytest.fixture(autouse=True)
def base_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example/")


@pytest.fixture(scope="module")
def lake(clients: Clients) -> Lake:
    """A lake with a table that has raw objects, and is converted."""
    lake = make_lake(clients, LAKE)
    put(add_table(clients, lake, "ORDERS"), "a", "ab", ago=1)
    return lake


def paragraphs(dag: str) -> list[str]:
    text = newest_note(dag)
    assert text[0] == text[-1] == MARK
    return text.strip(MARK).split("\n\n")


def table_of(dag: str, name: str) -> dict[str, Any]:
    return {"table": name} if dag in ONE_TABLE else {"tables": [name]}


@pytest.mark.newest
@pytest.mark.parametrize("dag", [*ONE_TABLE, *SEVERAL])
def test_a_lake_that_a_run_names_must_exist(run: Run, dag: str) -> None:
    """One with the default environment too, as long as it is in the run's `conf`: Airflow's form puts it there."""
    states = run(dag, **(table_of(dag, "ORDERS") if dag in ONE_TABLE else {}), environment="prdo")
    assert states["run"] == "failed"
    first, needed, action, *_ = paragraphs(dag)
    assert "There is no lake 'prdo' in account" in first
    assert first.startswith("ORDERS: FAILED in " if dag in ONE_TABLE else "FAILED in ")
    assert needed == "Needed: a lake that is set up there."
    assert action.startswith("What to do: run dynalake_setup for a table first, or check the lake's connection")


@pytest.mark.newest
@pytest.mark.parametrize("dag", SEVERAL)
def test_a_scheduled_run_before_the_first_setup_succeeds(run: Run, dag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYNALAKE_LAKES", '{"nowhere": {}}')
    assert run(dag)["run"] == "success"
    first, *others, page = paragraphs(dag)
    assert first == "Nothing to do: there is no lake 'nowhere'"
    assert "correct DYNALAKE_LAKES" in others[0]
    assert page == "[Page of the lake](https://airflow.example/dynalake/?environment=nowhere)"


@pytest.mark.newest
@pytest.mark.parametrize("dag", SEVERAL)
def test_a_lake_without_tables_has_nothing_to_do(run: Run, dag: str, clients: Clients) -> None:
    if not clients.ssm.get_parameters_by_path(Path="/dynalake/notables", Recursive=True)["Parameters"]:
        make_lake(clients, "notables")
    assert run(dag, environment="notables")["run"] == "success"
    assert paragraphs(dag)[0] == "Nothing to do: no table is set up in the lake 'notables'"


@pytest.mark.newest
@pytest.mark.parametrize("dag", [*ONE_TABLE, *SEVERAL])
def test_a_table_that_a_run_names_must_be_set_up(run: Run, dag: str, lake: Lake) -> None:
    """A backfill with its own attribute does not read the settings otherwise."""
    more = {"updated_at_attribute": "at"} if dag == "dynalake_backfill" else {}
    assert run(dag, **table_of(dag, "ORDRES"), environment=LAKE, **more)["run"] == "failed"
    first, _, *_ = paragraphs(dag)
    assert first.startswith("ORDRES: FAILED in ")
    assert "'ORDRES'" in first
    assert "Did you mean 'ORDERS'?" in first


@pytest.mark.newest
@pytest.mark.parametrize(("dag", "what"), [("dynalake_convert", "raw objects"), ("dynalake_compact", "rows")])
def test_a_day_that_a_run_names_must_have_data(run: Run, dag: str, what: str, lake: Lake) -> None:
    run("dynalake_convert", environment=LAKE)
    assert run(dag, environment=LAKE, days=["20190101"])["run"] == "failed"
    first, *_ = paragraphs(dag)
    assert f"days names 20190101, for which no table of the run has {what}" in first


def test_nothing_to_convert_is_said(run: Run, lake: Lake) -> None:
    run("dynalake_convert", environment=LAKE)
    assert run("dynalake_convert", environment=LAKE)["run"] == "success"
    assert paragraphs("dynalake_convert")[0] == "Nothing to convert"


def test_a_night_says_what_it_has_done_on_its_table(run: Run, lake: Lake) -> None:
    run("dynalake_convert", environment=LAKE)
    assert run("dynalake_compact", environment=LAKE, tables=["ORDERS"])["run"] == "success"
    assert paragraphs("dynalake_compact")[0].startswith("ORDERS: ")


@pytest.mark.newest
def test_nothing_to_redrive_is_said(run: Run, lake: Lake) -> None:
    assert run("dynalake_redrive", table="ORDERS", environment=LAKE)["run"] == "success"
    first, page = paragraphs("dynalake_redrive")
    assert first == "ORDERS: nothing to redrive: nothing has failed"
    assert page == f"[Page of the table](https://airflow.example/dynalake/tables/ORDERS?environment={LAKE})"
    chosen = ["dynamodb-errors/forwarder/ORDERS/dt=20190525/"]
    assert run("dynalake_redrive", table="ORDERS", environment=LAKE, batches=chosen)["run"] == "failed"
    assert "Not among the failed batches of table 'ORDERS'" in paragraphs("dynalake_redrive")[0]


def test_hostile_names_stay_text(run: Run, lake: Lake) -> None:
    run("dynalake_redrive", table="[ok](https://evil.example) <b>", environment=LAKE)
    first, *_, page = paragraphs("dynalake_redrive")
    assert first.startswith(r"\[ok\](https://evil.example) \<b>: FAILED in list_failed: ")
    assert page.startswith(
        "[Page of the table](https://airflow.example/dynalake/tables/%5Bok%5D%28https%3A%2F%2Fevil.example%29%20%3Cb%3E?"
    )


def test_a_state_set_by_hand_is_said(stored: None) -> None:
    from dynalake.operators.task.note_text import failed_lines
    from dynalake.operators.task.run_note import _BY_HAND, _REASONS

    assert failed_lines("ORDERS", [], _REASONS.get("", _BY_HAND)) == [f"ORDERS: FAILED: {_BY_HAND}"]


def test_the_page_is_mounted_where_notes_link_to() -> None:
    from dynalake.airflow_plugin import URL
    from dynalake.operators.task.run_note import _PAGE

    assert f"{URL}/" == _PAGE
