"""What `dynalake_watch` found, on its page in a real Airflow, seen by a real browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dynalake.names import TableNames

WATCH = "dynalake_watch"


@pytest.fixture
def watched(airflow: Any) -> Iterator[Callable[..., None]]:
    """Runs the watch once, whatever it finds. It is paused again: other tests' tables are not its concern."""

    def run(**conf: Any) -> None:
        airflow.client.unpause(WATCH)
        airflow.wait(WATCH, airflow.start(WATCH, **conf))

    yield run
    airflow.client.call("PATCH", f"/dags/{WATCH}?update_mask=is_paused", {"is_paused": True})


def test_the_page_shows_how_a_table_stands(
    airflow: Any,
    page: Any,
    shot: Callable[[str], None],
    client: Callable[[str], Any],
    make_set_up: Callable[..., TableNames],
    watched: Callable[..., None],
) -> None:
    table = make_set_up("ON-THE-PAGE").table
    client("dynamodb").put_item(TableName=table, Item={"id": {"S": "1"}})
    watched(tables=[table])

    page.goto(airflow.url)
    page.get_by_role("link", name="dynalake", exact=True).first.click()
    frame = page.frame_locator("iframe")
    frame.get_by_role("link", name=table).wait_for()
    assert "There is no snapshot since the hand-off" in frame.locator("table").inner_text()
    shot("watch-overview")

    frame.get_by_role("link", name=table).click()
    frame.get_by_role("heading", name=table).wait_for()
    assert "Enabled" in frame.locator("main").inner_text()
    shot("watch-table")
    frame.get_by_role("link", name="← dev").click()
    frame.get_by_role("link", name=table).wait_for()


def test_the_page_is_not_shown_to_strangers(airflow: Any, page: Any) -> None:
    stranger = page.context.browser.new_context()
    try:
        answer = stranger.request.get(f"{airflow.url}/dynalake/")
        assert answer.status == 401
        assert "Log in to Airflow" in answer.text()
    finally:
        stranger.close()
