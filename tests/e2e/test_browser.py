"""The Airflow pages in a real browser: the finished setup reads as a story, the form explains itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from tests.support.waiting import eventually

# The page reloads the grid when it has found the run, so everything is read at one moment.
TOP_DOWN = """steps => {
  const tops = new Map(), texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text; (text = texts.nextNode());)
    if (steps.includes(text.data) && !tops.has(text.data))
      tops.set(text.data, text.parentElement.getBoundingClientRect().y);
  return [...tops.keys()].sort((one, other) => tops.get(one) - tops.get(other));
}"""
STORY = ["check_source", "plan", "deploy", "prove", "register_catalog", "record_hand_off", "start_backfill"]


def test_a_finished_setup_reads_as_a_story(
    airflow: Any, page: Any, shot: Callable[[str], None], finished_setup: str
) -> None:
    run = finished_setup
    page.goto(f"{airflow.url}/dags/dynalake_setup/runs/{quote(run)}")
    page.get_by_text("Success").first.wait_for()
    # The grid shows the steps in their order.
    eventually(lambda: page.evaluate(TOP_DOWN, STORY), STORY.__eq__)
    assert page.get_by_text("Failed").count() == 0
    shot("setup-run")

    page.goto(f"{airflow.url}/dags/dynalake_setup/runs/{quote(run)}/tasks/prove.canaries_arrive")
    page.get_by_text("Canaries of dynalake").first.wait_for()
    shot("setup-canary")


def test_the_form_explains_each_choice(airflow: Any, page: Any, shot: Callable[[str], None]) -> None:
    page.goto(f"{airflow.url}/dags/dynalake_setup")
    page.get_by_role("button", name="Trigger").first.click()
    page.get_by_text("DynamoDB table", exact=False).first.wait_for()
    for section in ("Run Parameters", "Delivery", "Forwarder", "Columns", "Files and history"):
        page.get_by_text(section, exact=True).last.wait_for()
    page.get_by_text("Shows what CloudFormation would change and what the table will cost, and stops.").wait_for()
    shot("setup-form")
    page.locator("[name=element_table]").fill("RECEIPTS")
    # No other field has to be filled in.
    page.get_by_role("dialog").get_by_role("button", name="Trigger", disabled=False).wait_for()


def test_a_failed_check_says_what_to_do(airflow: Any, page: Any, shot: Callable[[str], None]) -> None:
    run = airflow.start("dynalake_setup", table="NOT_THERE_AT_ALL")
    airflow.wait("dynalake_setup", run)
    page.goto(f"{airflow.url}/dags/dynalake_setup/runs/{quote(run)}/tasks/check_source")
    page.get_by_text("What to do: check the name").first.wait_for()
    shot("setup-failed")
