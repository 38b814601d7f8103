"""The page in a real browser, in a frame with the sandbox that Airflow gives it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.airflow.lake_page import Page, overview, stopped, well
from tests.support.machine import need

pytestmark = [pytest.mark.slow, pytest.mark.newest]

ROOT = "http://airflow.test"
# As in Airflow 3.1.0 and 3.3.2, which gives it allow-downloads too.
FRAME = """<!doctype html><html class="dark"><body><h1>Airflow</h1>
<iframe sandbox="allow-scripts allow-same-origin allow-forms" src="/dynalake/{path}" width="100%" height="800">
</iframe>"""


@dataclass
class Browser:
    """A browser with an Airflow around the page, and the runs that were started there."""

    context: Any
    answer: tuple[int, dict[str, Any]] = (200, {"dag_run_id": "manual__1"})
    started: list[tuple[str, Any]] = field(default_factory=list)

    def open(self, path: str = "", width: int = 1400) -> tuple[Any, Any]:
        """Return Airflow's page, and the frame in it."""
        page = self.context.new_page()
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(f"{ROOT}/plugin/dynalake/{path}")
        frame = page.frames[1]
        frame.locator("h1").wait_for()
        return page, frame


@pytest.fixture
def browser(page: Page) -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=need("chromium"), args=["--no-sandbox"])
        opened = Browser(chromium.new_context(timezone_id="America/New_York"))

        def serve(route: Any) -> None:
            request, place = route.request, urlsplit(route.request.url)
            if request.method == "POST":
                opened.started.append((place.path, json.loads(request.post_data)))
                status, body = opened.answer
                route.fulfill(status=status, json=body)
            elif place.path.startswith("/dynalake/"):
                answer = page.get(request.url.removeprefix(f"{ROOT}/dynalake"), "starter")
                route.fulfill(status=answer.status_code, headers=dict(answer.headers), body=answer.text)
            elif place.path.startswith("/plugin/dynalake/"):
                path = place.path.removeprefix("/plugin/dynalake/")
                route.fulfill(content_type="text/html", body=FRAME.format(path=path))
            else:
                route.fulfill(content_type="text/html", body="<h1>another page</h1>")

        opened.context.route("**/*", serve)
        yield opened
        chromium.close()


def test_tables_are_searched_sorted_and_filtered_and_the_address_keeps_it(page: Page, browser: Browser) -> None:
    big = replace(well(), source=replace(well().source, items=9_000_000))
    page.content = overview(orders=well(), customers=big, sensors=stopped())
    _, frame = browser.open()

    def shown() -> list[str]:
        return [name for name in frame.locator("td.name").all_inner_texts() if frame.get_by_text(name).is_visible()]

    assert frame.locator("td.name").all_inner_texts() == ["sensors", "customers", "orders"]
    frame.get_by_role("button", name="in DynamoDB").click()
    frame.get_by_role("button", name="in DynamoDB").click()
    assert frame.locator("td.name").first.inner_text() == "customers"
    frame.get_by_role("searchbox").fill("ORD")
    assert shown() == ["orders"]
    assert frame.locator("#shown").inner_text() == "1 of 3"
    frame.goto(frame.url)
    frame.locator("h1").wait_for()
    assert shown() == ["orders"], "a reload shows the same"
    frame.get_by_role("searchbox").fill("")
    frame.get_by_role("button", name="stopped").click()
    assert shown() == ["sensors"]


def test_tables_are_found_by_their_owner(page: Page, browser: Browser) -> None:
    page.content = overview(
        orders=replace(well(), owner="checkout"), carts=replace(well(), owner="checkout"), sensors=stopped()
    )
    _, frame = browser.open()
    owners = frame.get_by_label("Owner")
    assert owners.locator("option").all_inner_texts() == ["All owners", "checkout (2)", "no owner (1)"]

    def shown() -> list[str]:
        return [row.get_attribute("data-table") for row in frame.locator("tbody[data-table]:visible").all()]

    owners.select_option("checkout")
    assert shown() == ["carts", "orders"]
    frame.get_by_role("searchbox").fill("ord")
    assert shown() == ["orders"]
    frame.goto(frame.url)
    frame.locator("h1").wait_for()
    assert (shown(), owners.input_value()) == (["orders"], "checkout"), "a reload shows the same"
    frame.get_by_role("searchbox").fill("")
    owners.select_option("no owner")
    assert shown() == ["sensors"]
    owners.select_option("All owners")
    frame.get_by_role("searchbox").fill("CHECK")
    assert shown() == ["carts", "orders"], "an owner is found like a table"


@pytest.mark.parametrize("path", ["", "tables/RECEIPTS", "tables/STOPPED"])
def test_everything_fits_on_a_phone_in_both_themes(browser: Browser, path: str) -> None:
    airflow, frame = browser.open(path, 390)
    wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not frame.evaluate(wide)
    dark = frame.evaluate("getComputedStyle(document.body).backgroundColor")
    airflow.evaluate("document.documentElement.className = 'light'")
    frame.locator("html[data-theme=light]").wait_for()
    assert frame.evaluate("getComputedStyle(document.body).backgroundColor") != dark


def test_times_are_in_the_zone_that_is_chosen_in_airflow(browser: Browser) -> None:
    airflow, frame = browser.open()
    assert frame.locator(".zone").inner_text() == "America/New_York", "the browser's, as in Airflow itself"
    airflow.evaluate("localStorage.setItem('timezone', '\"Asia/Tokyo\"')")
    _, frame = browser.open("tables/RECEIPTS")
    assert frame.locator(".zone").inner_text() == "Asia/Tokyo"
    time = frame.locator("dd time").first
    at = int(time.get_attribute("data-at"))
    expected = frame.evaluate(f"new Date({at}).toLocaleString('sv-SE', {{timeZone: 'Asia/Tokyo'}}).slice(0, 16)")
    assert time.inner_text() == expected


def test_links_leave_the_frame(browser: Browser) -> None:
    airflow, frame = browser.open()
    with browser.context.expect_page() as opened:
        frame.get_by_role("link", name="CloudWatch dashboard").click()
    assert "console.aws.amazon.com/cloudwatch" in opened.value.url
    frame.get_by_role("link", name="Set up a table").click()
    airflow.wait_for_url(f"{ROOT}/dags/dynalake_setup")


def test_a_run_is_shown_before_it_is_started(browser: Browser) -> None:
    airflow, frame = browser.open("tables/RECEIPTS")
    frame.get_by_role("link", name="Compact now").click()
    dialog = frame.locator("dialog")
    assert "dynalake_compact" in dialog.inner_text()
    assert '{"tables": ["RECEIPTS"], "environment": "dev"}' in dialog.inner_text()
    assert browser.started == []
    browser.answer = 403, {"detail": "Forbidden"}
    dialog.get_by_role("button", name="Start the run").click()
    dialog.get_by_text("Airflow does not let you start this DAG").wait_for()
    browser.answer = 200, {"dag_run_id": "manual__1+00:00"}
    dialog.get_by_role("button", name="Start the run").click()
    airflow.wait_for_url(f"{ROOT}/dags/dynalake_compact/runs/manual__1%2B00%3A00")
    conf = {"tables": ["RECEIPTS"], "environment": "dev"}
    assert browser.started == [("/api/v2/dags/dynalake_compact/dagRuns", {"logical_date": None, "conf": conf})] * 2


def test_sql_commands_and_configurations_can_be_copied(browser: Browser) -> None:
    _, frame = browser.open("tables/STOPPED")
    frame.evaluate("document.addEventListener('copy', () => { window.copied = document.activeElement.value; })")
    frame.locator("li .action + button").click()
    assert frame.evaluate("copied") == "aws lambda update-event-source-mapping --uuid uuid --enabled"
    frame.locator(".copied pre + button, .copied .title button").first.click()
    assert frame.evaluate("copied").startswith('SELECT * FROM "dynalake_dev"')
    frame.get_by_role("link", name="Redrive, dry run").click()
    frame.get_by_role("button", name="Copy the configuration").click()
    assert json.loads(frame.evaluate("copied")) == {"table": "STOPPED", "dry_run": True, "environment": "dev"}
