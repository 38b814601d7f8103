"""The results of `dynalake_watch`, on its page in a real Airflow and a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from dynalake.aws.clients import Clients
from dynalake.lake.catalog.table import Table
from dynalake.names import TableNames
from tests.support.aws.capture_steps import wait_for_changes
from tests.support.aws.lake import convert

WATCH = "dynalake_watch"


@pytest.fixture
def watched(airflow: Any) -> Iterator[Callable[..., None]]:
    """Runs the watch once, whatever its result, and pauses it again, away from other tests' tables."""

    def run(**conf: Any) -> None:
        airflow.client.unpause(WATCH)
        airflow.wait(WATCH, airflow.start(WATCH, **conf))

    yield run
    airflow.client.call("PATCH", f"/dags/{WATCH}?update_mask=is_paused", {"is_paused": True})


def test_the_page_shows_the_state_of_a_table(
    airflow: Any,
    page: Any,
    shot: Callable[[str], None],
    client: Callable[[str], Any],
    clients: Clients,
    make_set_up: Callable[..., TableNames],
    watched: Callable[..., None],
) -> None:
    names = make_set_up("ON-THE-PAGE")
    table = names.table
    for number in range(20):
        client("dynamodb").put_item(TableName=table, Item={"id": {"S": str(number)}, "price": {"N": "1.50"}})
    wait_for_changes(clients, names, 20)
    convert(Table(clients, names))
    watched(tables=[table])

    page.goto(airflow.url)
    page.get_by_role("link", name="dynalake", exact=True).first.click()
    frame = page.frame_locator("iframe")
    frame.get_by_role("link", name=table).wait_for()
    row = frame.locator(f'tbody[data-table="{table}"]')
    assert "There is no snapshot since the hand-off" in row.inner_text()
    in_the_lake, changes = (row.locator(f'td[data-column="{column}"]').inner_text() for column in (7, 8))
    assert (in_the_lake, changes) == ("0", "20"), "items as of the fold, and changes"
    shot("watch-overview")
    with page.expect_download() as download:
        frame.get_by_role("link", name="dbt sources.yml").click()
    assert "name: on_the_page_current" in Path(download.value.path()).read_text()

    frame.get_by_role("link", name=table).click()
    frame.get_by_role("heading", name=table).wait_for()
    text = frame.locator("main").inner_text()
    state = "FROM `dynalake_dev`.`on_the_page_state`"
    for fact in ("Enabled", "20 rows, ", state, "price", "Freshness, 24 hours", "Kinesis"):
        assert fact in text, fact
    # The schedule's first run may have compared them too.
    compared = re.search(r"(\d+) compared, (\d+) equal", text)
    assert compared is not None, text
    assert compared[1] == compared[2]
    assert int(compared[1]) >= 20
    assert frame.get_by_role("link", name="look").count() >= 1, "the log of the watch's task for this table"
    shot("watch-table")
    # A click selects the whole query, to be copied.
    query = frame.locator("pre.sql").nth(2)
    query.click()
    assert query.evaluate("element => getSelection().toString()") == query.inner_text()
    shot("watch-query")
    frame.get_by_role("link", name="← dev").click()
    frame.get_by_role("link", name=table).wait_for()

    # A run is started from the page, as the user, and Airflow shows it.
    frame.get_by_role("link", name=table).click()
    frame.get_by_role("link", name="Check now").click()
    shot("watch-start")
    frame.get_by_role("button", name="Start the run").click()
    page.wait_for_url(f"**/dags/{WATCH}/runs/**")
    run = unquote(page.url.split("/runs/")[1].split("/")[0].split("?")[0])
    airflow.wait(WATCH, run)
    (conf,) = (r["conf"] for r in airflow.client.runs(WATCH) if r["dag_run_id"] == run)
    assert conf == {"tables": [table], "environment": "dev"}


def test_the_page_is_not_shown_to_strangers(airflow: Any, page: Any) -> None:
    stranger = page.context.browser.new_context()
    try:
        answer = stranger.request.get(f"{airflow.url}/dynalake/")
        assert answer.status == 401
        assert "Log in to Airflow" in answer.text()
    finally:
        stranger.close()
