"""The Airflow pages in a real browser: the finished setup reads as a story, the form explains itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.conftest import REPOSITORY, need

STORY = ("check_source", "plan", "deploy", "prove", "register_catalog", "record_hand_off", "start_backfill")
SHOTS = REPOSITORY / ".local" / "screenshots"


@pytest.fixture(scope="module")
def page(airflow: Any) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=need("chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
        )
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(30_000)
        page.goto(airflow.url)
        page.fill("input[name=username]", "admin")
        page.fill("input[name=password]", airflow.password)
        page.keyboard.press("Enter")
        page.get_by_role("link", name="Dags").first.wait_for()
        yield page
        browser.close()


def shot(page: Any, name: str) -> Path:
    SHOTS.mkdir(parents=True, exist_ok=True)
    path = SHOTS / f"{name}.png"
    page.screenshot(path=str(path))
    return path


def test_a_finished_setup_reads_as_a_story(airflow: Any, page: Any, make_table: Callable[..., str]) -> None:
    make_table("SEEN")
    run = airflow.run("dynalake_setup", table="SEEN")
    page.goto(f"{airflow.url}/dags/dynalake_setup/runs/{quote(run)}")
    page.get_by_text("Success").first.wait_for()
    for step in STORY:
        page.get_by_text(step, exact=True).first.wait_for()
    assert page.get_by_text("Failed").count() == 0
    shot(page, "setup-run")
    tops = [page.get_by_text(step, exact=True).first.bounding_box()["y"] for step in STORY]
    assert tops == sorted(tops), "the grid tells the steps in the order in which they happen"

    page.goto(f"{airflow.url}/dags/dynalake_setup/runs/{quote(run)}/tasks/prove.canary_arrives")
    page.get_by_text("The canary is in s3://").first.wait_for()
    shot(page, "setup-canary")


def test_the_form_explains_each_choice(airflow: Any, page: Any) -> None:
    page.goto(f"{airflow.url}/dags/dynalake_setup")
    page.get_by_role("button", name="Trigger").first.click()
    page.get_by_text("DynamoDB table", exact=False).first.wait_for()
    for section in ("This run", "Where", "Delivery", "Forwarder", "Backfill"):
        page.get_by_text(section, exact=True).last.wait_for()
    page.get_by_text("This run", exact=True).first.click()
    page.get_by_text("Shows what CloudFormation would change, and stops.").wait_for()
    shot(page, "setup-form")


def test_a_failed_check_says_what_to_do(airflow: Any, page: Any) -> None:
    run = airflow.start("dynalake_setup", table="NOT_THERE_AT_ALL")
    airflow.wait("dynalake_setup", run)
    page.goto(f"{airflow.url}/dags/dynalake_setup/runs/{quote(run)}/tasks/check_source")
    page.get_by_text("What to do: check the name").first.wait_for()
    shot(page, "setup-failed")
