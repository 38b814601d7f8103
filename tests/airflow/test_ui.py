"""The page in the Airflow UI: who may see it, what it shows, and that no value on it is rendered as HTML."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from inspect import signature
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import pytest

from dynalake.certify.certificate import Certificate, Difference
from dynalake.days import milliseconds
from dynalake.errors import SettingsError
from dynalake.options.lakes import LakeEntry
from dynalake.ui import data
from dynalake.ui.data import read_certificate, unchecked
from dynalake.version import VERSION
from dynalake.watch.status import LARGEST_BYTES, Overview, load_overview
from tests.airflow.lake_page import EVIL, LAKE, Page, hostile, overview, well


@pytest.mark.parametrize("path", ["/", "/tables/RECEIPTS", "/?environment=prod"])
@pytest.mark.parametrize(("user", "status"), [("no login", 401), ("stranger", 403), ("nobody", 403), ("viewer", 200)])
def test_only_users_who_may_see_the_dag_see_the_page(page: Page, path: str, user: str, status: int) -> None:
    answer = page.get(path, user)
    assert answer.status_code == status
    assert (len(page.environments) == 1) == (status == 200), "nothing is read for other users"
    assert ("RECEIPTS" in answer.text) == (status == 200)
    assert "script-src 'sha256-" in answer.headers["Content-Security-Policy"]


def test_the_cookie_of_the_browser_is_accepted_too(page: Page) -> None:
    from airflow.api_fastapi.core_api.security import get_user

    page.client.cookies.set("_token", page.tokens["viewer"])
    try:
        answer = page.get(user="cookie")
    finally:
        page.client.cookies.clear()
    if "request" in signature(get_user).parameters:
        assert answer.status_code == 200
    else:
        # Airflow 3.1.0 moves the login from the cookie to the browser's storage, where the refusal's script finds it.
        assert answer.status_code == 401
        assert 'data-refused="401"' in answer.text
        assert 'localStorage.getItem("token")' in answer.text


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/static/x", "/tables/"])
def test_no_other_path_exists(page: Page, path: str) -> None:
    assert page.get(path).status_code == 404
    assert page.client.post("/", headers={"Authorization": f"Bearer {page.tokens['viewer']}"}).status_code == 405


def test_pages_say_which_version_made_them_but_not_to_strangers(page: Page) -> None:
    footer = f">dynalake {VERSION}</footer>"
    assert footer in page.get().text
    assert footer in page.get("/tables/RECEIPTS").text
    assert footer not in page.get(user="no login").text
    assert footer not in page.get(user="stranger").text


def test_the_overview_shows_the_worst_first(page: Page) -> None:
    text = page.get().text
    assert re.findall(r'href="tables/(\w+)"', text) == ["STOPPED", "STALE", "RECEIPTS"]
    states = [("bad", "stopped"), ("warn", "not checked"), ("good", "ok")]
    assert re.findall(r'class="badge (\w+)">([^<]+)<', text) == states * 2, "the filters', and the tables'"
    assert ">aws lambda update-event-source-mapping --uuid uuid --enabled</code>" in text, "it can be copied alone"
    assert ">101</td>" in text, "items in DynamoDB"
    assert ">98</td>" in text, "and in the lake"
    assert "for 2 h 30 min; it was ok" in text


def test_the_pipeline_shows_each_stage_in_the_state_of_its_worst_verdict(page: Page) -> None:
    def states(table: str) -> list[tuple[str, str]]:
        text = page.get(f"/tables/{table}").text
        return re.findall(r'<div class="stage s-\w+">.*?class="badge (\w+)">([^<]+)<', text)

    words = ["stream on", "reading", "delivering", "landing", "up to date", "folded"]
    assert states("RECEIPTS") == [("good", word) for word in words]
    assert states("STOPPED") == [("bad", "stopped") if word == "reading" else ("good", word) for word in words]


def test_a_table_has_its_own_page(page: Page) -> None:
    text = page.get("/tables/RECEIPTS").text
    for fact in (
        "Enabled (OK)",
        "20 compared, 20 equal",
        "1,234 rows, 1.5 kB in 3 files",
        "99 rows, 500 B in 1 file",
        "oldest of them",
        "receipts_current",
        "SELECT `id`",
        "<code>userid_6c</code>",
        "<code>userId</code>",
        "was bigint until",
        "9 values of 2 attributes",
        "they do not fit <code>bigint</code>",
        "$11.45",
        "Freshness, 24 hours",
        "Lag, 7 days, worst of each hour",
        "now <b>60 s</b>, at worst <b>50 min</b>",
        "from the writes of the last two weeks",
    ):
        assert fact in text, fact
    assert 'href="../"' in text
    assert page.get("/tables/UNKNOWN").status_code == 404


def test_a_table_shows_its_owner(page: Page) -> None:
    assert 'id="owner"' not in page.get().text, "nothing to choose from"
    assert "owner:" not in page.get("/tables/RECEIPTS").text
    page.content = overview(RECEIPTS=replace(well(), owner="checkout"))
    assert '<option value="checkout">checkout (1)</option></select>' in page.get().text
    assert "owner: checkout" in page.get("/tables/RECEIPTS").text


def test_a_table_shows_its_past_folds(page: Page) -> None:
    folds = page.get("/tables/RECEIPTS").text.partition('id="folds"')[2].partition("</table>")[0]
    rows = [re.findall(r"<td[^>]*>([^<]+)</td>", row) for row in folds.split("<tr>")[2:]]
    assert rows == [
        ["70,210", "41,022", "512,400", "41.3 MB in 3 files", "under 1%"],
        ["8,412,301", "6,120,774", "31,204,551", "2.9 GB in 12 files", "31%"],
        ["412,301,882", "98,001,441", "98,001,441", "9.4 GB in 37 files", "the whole table"],
    ]
    assert 'id="folds"' not in page.get("/").text


def test_a_table_shows_its_certificate(page: Page) -> None:
    assert "none yet" in page.get("/tables/RECEIPTS").text
    at = milliseconds(datetime.now(UTC))
    equal = Certificate("RECEIPTS", "run", "export", at, at, 412_301_882, 412_301_882, 7, 0, 0, 0, 0, (), 1.5)
    page.certificate = equal
    text = page.get("/tables/RECEIPTS").text
    assert ">412,301,882<" in text
    assert "difference 1" not in text
    named = tuple(Difference(f"id={EVIL}{n}", "missing") for n in range(5))
    page.certificate = replace(equal, missing=5, named=named)
    text = page.get("/tables/RECEIPTS").text
    assert "missing in the lake" in text
    assert "2 more in the log" in text
    assert EVIL not in text


def test_a_certificate_that_cannot_be_read_hides_no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = SimpleNamespace(value={})
    table = SimpleNamespace(
        store=SimpleNamespace(read_json=lambda key: stored), names=SimpleNamespace(last_certificate="x")
    )
    monkeypatch.setattr(data, "_place", lambda environment: (None, LAKE))
    monkeypatch.setattr(data, "Table", lambda clients, names: table)
    broken: tuple[dict[str, Any], ...] = ({}, {"named": 3}, {"named": []}, {"named": [{}]})
    for value in broken:
        stored.value = value
        read_certificate.cache.clear()
        assert read_certificate("dev", "RECEIPTS") is None


def test_a_table_that_nobody_has_checked_says_when_it_will_be(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    page.content = unchecked("prod", ["NEW"])
    monkeypatch.setattr("dynalake.ui.app.read_status", lambda environment, table: None)
    for path in ("/", "/tables/NEW"):
        text = page.get(path).text
        assert "first check" in text
        assert "every ten minutes" in text
        assert "There is no snapshot" not in text, "no advice before anything is known"


def test_only_who_may_start_runs_gets_buttons(page: Page) -> None:
    assert "data-conf=" not in page.get("/tables/RECEIPTS", "viewer").text
    text = page.get("/tables/RECEIPTS", "starter").text
    forms = [json.loads(html.unescape(conf)) for conf in re.findall(r'data-conf="([^"]*)"', text)]
    assert {"tables": ["RECEIPTS"], "environment": "dev"} in forms
    assert {"table": "RECEIPTS", "dry_run": True, "environment": "dev"} in forms
    assert 'href="../../dags/dynalake_compact"' in text, "without the script it leads to the DAG"


def test_the_last_runs_about_a_table_are_linked(page: Page) -> None:
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState
    from airflow.utils.types import DagRunType

    at = datetime.now(UTC)
    runs = {
        "mine": {"table": "RECEIPTS", "environment": "dev"},
        "all": {},
        "other.table": {"table": "OTHER", "environment": "dev"},
        "other.lake": {"table": "RECEIPTS", "environment": "prod"},
    }
    with create_session() as session:
        session.query(DagRun).filter(DagRun.dag_id == "dynalake_backfill").delete()
        for name, conf in runs.items():
            run = DagRun(
                "dynalake_backfill", name, run_type=DagRunType.MANUAL, state=DagRunState.FAILED, conf=conf, run_after=at
            )
            run.start_date = run.end_date = at
            session.add(run)
    text = page.get("/tables/RECEIPTS", "viewer").text
    assert 'href="../../dags/dynalake_backfill/runs/mine"' in text
    assert 'href="../../dags/dynalake_backfill/runs/all"' in text
    assert "runs/other" not in text
    assert page.get("/tables/RECEIPTS", "nobody").status_code == 403


def test_links_stay_in_the_lake(page: Page) -> None:
    assert 'href="tables/RECEIPTS?environment=prod"' in page.get("/?environment=prod").text
    assert 'href="../?environment=prod"' in page.get("/tables/RECEIPTS?environment=prod").text
    assert page.environments == ["prod", "prod"]


def test_the_page_offers_other_lakes(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DYNALAKE_LAKES")
    assert "<nav" not in page.get().text
    monkeypatch.setenv("DYNALAKE_LAKES", '{"dev": {}, "staging": {}}')
    assert 'href="./?environment=staging">staging</a>' in page.get().text
    text = page.get("/?environment=staging").text
    assert 'href="./">dev</a>' in text
    assert ">staging</a>" not in text
    page.content = SettingsError("broken")
    assert 'href="./?environment=staging">staging</a>' in page.get().text, "a broken lake hides no other"


def test_each_lake_is_for_those_who_may_see_its_watch(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    def is_authorized_dag(*, details: Any, **_: Any) -> bool:
        return str(details.id) != "dynalake_watch_prod"

    monkeypatch.setattr(
        "dynalake.ui.app.get_auth_manager", lambda: SimpleNamespace(is_authorized_dag=is_authorized_dag)
    )
    answer = page.get("/?environment=prod")
    assert answer.status_code == 403
    assert "You may not see the DAG dynalake_watch_prod" in answer.text
    text = page.get().text
    assert ">staging</a>" in text
    assert ">prod</a>" not in text
    assert page.environments == ["dev"]


def test_a_lake_s_page_leads_to_its_own_dags(page: Page) -> None:
    text = page.get("/tables/STOPPED?environment=prod", "starter").text
    dags = re.findall(r'data-dag="([^"]*)"', text)
    assert dags == [
        "dynalake_watch_prod",
        "dynalake_convert_prod",
        "dynalake_compact_prod",
        "dynalake_compact_prod",
        "dynalake_redrive",
        "dynalake_certify_prod",
        "dynalake_backfill",
    ]
    assert "dynalake_convert_prod brings it into SQL" in text
    page.content = overview(LATE=replace(well(), lake=replace(well().lake, unconverted_since=1)))
    assert "unpause dynalake_convert_prod, or check its last run" in page.get("/?environment=prod").text
    assert "unpause dynalake_convert, or check its last run" in page.get().text


def test_lakes_that_cannot_be_read_are_explained(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynalake.ui.app.read_content", data.read_content)
    monkeypatch.setenv("DYNALAKE_LAKES", '{"dev": {"tag": "x"}, "staging": {}}')
    text = html.unescape(page.get().text)
    assert "The lake 'dev' of DYNALAKE_LAKES: Settings that are not allowed: 'tag' is 'x', not key=value" in text
    assert ">staging</a>" in text
    answer = page.get("/?environment=other")
    assert answer.status_code == 400
    assert "'other' is not one of this Airflow's lakes" in html.unescape(answer.text)
    monkeypatch.setenv("DYNALAKE_LAKES", "dev")
    for path in ("/", "/?environment=dev"):
        answer = page.get(path)
        assert answer.status_code == 500
        assert "DYNALAKE_LAKES is not valid JSON" in answer.text


def test_no_value_is_rendered_as_html(page: Page) -> None:
    page.content = overview(HOSTILE=hostile())
    for path in ("/", "/tables/HOSTILE", f"/?environment={EVIL}", "/tables/<b>evil"):
        text = page.get(path).text
        assert EVIL not in text
        assert "<b>evil" not in text
        assert text.count("<script>") == 1, "the page's own"
    assert "&lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt;" in page.get("/tables/HOSTILE").text
    page.content = SettingsError(f"environment is {EVIL}", allowed=EVIL, action=EVIL)
    assert EVIL not in page.get().text


def test_the_page_loads_nothing_from_other_hosts(page: Page) -> None:
    for path in ("/", "/tables/RECEIPTS"):
        text = page.get(path).text
        loaded = re.sub(r'<a href="https://[^"]*" data-leave="apart"', "", text)
        assert loaded != text, "what AWS's console shows, is linked"
        assert not re.findall(r'(?:src|href)="(?:https?:)?//', loaded)
        assert not re.findall(r'target="|<form|<link|style="', text), "the frame and the policy allow none"
        (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
        from dynalake.ui.app import SCRIPT

        assert script == SCRIPT, "its hash is in the policy"


def test_the_lake_as_sources_of_dbt(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain text for programs, with the same protection as the page."""
    answers: dict[str, Any] = {
        "dev": "version: 2\n",
        "prod": SettingsError("broken", allowed="whole", action="repair it"),
        "staging": None,
    }

    def read(environment: str) -> Any:
        answer = answers[environment]
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr("dynalake.ui.app.read_sources", read)
    assert 'href="sources.yml" download' in page.get().text
    assert 'href="sources.yml?environment=prod" download' in page.get("/?environment=prod").text
    for environment, status, text in (
        ("dev", 200, "version: 2\n"),
        ("prod", 400, "broken\nNeeded: whole\nWhat to do: repair it\n"),
        ("staging", 404, "There is no lake 'staging' yet\nWhat to do: set up its first table with dynalake_setup\n"),
    ):
        answer = page.get(f"/sources.yml?environment={environment}")
        assert (answer.status_code, answer.text) == (status, text)
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert page.get("/sources.yml").text == "version: 2\n"
    assert [page.get("/sources.yml", user).status_code for user in ("nobody", "stranger", "no login")] == [
        403,
        403,
        401,
    ]


@pytest.mark.parametrize(
    ("content", "status", "says"),
    [
        (lambda content: content("prod"), 200, 'href="../dags/dynalake_setup"'),
        (lambda content: content("prod", LAKE, unchecked("prod", ["NEW"])), 200, "The first check has not run yet"),
        (lambda content: content("prod", LAKE, Overview("prod", 0, ())), 200, "This lake captures no table yet"),
        (lambda _: SettingsError("environment is 'X'", allowed="lower case"), 400, "Needed: lower case"),
    ],
)
def test_the_page_says_what_is_missing(page: Page, content: Callable[..., Any], status: int, says: str) -> None:
    from dynalake.ui.data import Content

    page.content = content(Content)
    answer = page.get()
    assert answer.status_code == status
    assert says in answer.text


def test_the_page_shows_an_error_of_aws(page: Page) -> None:
    from botocore.exceptions import NoCredentialsError

    page.content = NoCredentialsError()
    answer = page.get()
    assert answer.status_code == 502
    assert "Unable to locate credentials" in answer.text


def damaged(*path: str | int, to: Any) -> str:
    """Return an overview as a watch writes it, except for one value."""
    values = json.loads(overview(RECEIPTS=well()).to_json())
    place = values
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = to
    return json.dumps(values)


WRONG: dict[str, Callable[[], str]] = {
    "unknown state": partial(damaged, "tables", 0, "state", to="pwned"),
    "table is a number": partial(damaged, "tables", 0, "table", to=5),
    "at is a text": partial(damaged, "at", to="x"),
    "at is endless": partial(damaged, "at", to=1e308),
    "tables is a text": partial(damaged, "tables", to="abc"),
    "tables of texts": partial(damaged, "tables", to=["abc"]),
    "far future": partial(damaged, "tables", 0, "readings", "at", to=10**30),
    "no lake": partial(damaged, "tables", 0, "readings", "lake", to={"x": 1}),
    "newest of no year": partial(damaged, "tables", 0, "readings", "landing", "newest_change", to=10**18),
    "endless day": partial(damaged, "tables", 0, "readings", "lake", "days", 0, "size", "rows", to=float("inf")),
    "endless hour": partial(damaged, "tables", 0, "history", "hours", 0, 2, to=float("inf")),
    "hour of no state": partial(damaged, "tables", 0, "history", "hours", 0, 4, to=5),
    "deep": lambda: "[" * 200_000,
    "not JSON": lambda: "{",
    "another shape": lambda: "[]",
    "too large": lambda: " " * (LARGEST_BYTES + 1),
}

SHOWN = ("table is a number", "far future", "endless hour", "hour of no state")
"""Odd values that a page can show."""


@pytest.mark.parametrize("wrong", WRONG)
def test_the_page_reports_an_overview_that_no_watch_wrote(
    page: Page, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer to the bucket can neither remove the page's policy nor load a large object into the API server."""
    from dynalake.ui.data import Content

    class Body(BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            assert size is not None
            assert 0 <= size <= LARGEST_BYTES + 1
            return super().read(size)

    text = WRONG[wrong]().encode()
    answer = {"Body": Body(text)}
    clients: Any = SimpleNamespace(s3=SimpleNamespace(get_object=lambda **_: answer))
    read = lambda environment: Content(environment, LAKE, load_overview(clients, LAKE))  # noqa: E731
    monkeypatch.setattr("dynalake.ui.app.read_content", read)
    response = page.get()
    if wrong in SHOWN:
        assert response.status_code == 200
    else:
        assert response.status_code == 502, response.text
        assert "run dynalake_watch, which writes it again" in response.text
    assert "script-src 'sha256-" in response.headers["Content-Security-Policy"]


def test_each_lake_has_its_own_session_and_no_other_name_opens_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from dynalake.ui import data

    opened: list[LakeEntry] = []

    def clients_of(entry: LakeEntry) -> object:
        opened.append(entry)
        return object()

    monkeypatch.setattr(data, "clients_of", clients_of)
    monkeypatch.setattr(data, "find_lake", lambda clients, environment: None)
    monkeypatch.setenv("DYNALAKE_LAKES", '{"one": {"region": "eu-west-1"}, "two": {"connection": "aws_two"}}')
    caches: Any = (data._make, data._place, data.read_content)
    try:
        for _ in range(3):
            for environment in ("one", "two"):
                assert data.read_content(environment).lake is None
                data._place.cache.clear()
                data.read_content.cache.clear()
        for n in range(100):
            with pytest.raises(SettingsError, match=f"'x{n}' is not one of this Airflow's lakes"):
                data.read_content(f"x{n}")
    finally:
        for cached in caches:
            cached.cache.clear()
    assert opened == [LakeEntry("one", region="eu-west-1"), LakeEntry("two", "aws_two")]


@dataclass
class Teamless:
    """The DAG's details in an Airflow without teams."""

    id: str | None = None


@pytest.mark.parametrize("shape", ["airflow's", "teamless"])
def test_the_team_of_the_dag_is_checked(page: Page, shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in Airflow's own routes: a viewer of another team sees neither the DAG nor the page.

    https://airflow.apache.org/docs/apache-airflow/stable/core-concepts/multi-team.html
    """
    from airflow.api_fastapi.auth.managers.models.resource_details import DagDetails

    checked: list[Any] = []

    def is_authorized_dag(*, method: str, details: Any, user: Any) -> bool:
        checked.append(details)
        return getattr(details, "team_name", "B") == "B"

    monkeypatch.setattr(
        "dynalake.ui.app.get_auth_manager", lambda: SimpleNamespace(is_authorized_dag=is_authorized_dag)
    )
    monkeypatch.setattr("airflow.models.dag.DagModel.get_team_name", lambda dag: f"A of {dag}")
    if shape == "teamless":
        monkeypatch.setattr("dynalake.ui.runs.DagDetails", Teamless)
        monkeypatch.delenv("DYNALAKE_LAKES")
        assert page.get().status_code == 200
        assert checked == [Teamless("dynalake_watch")]
    else:
        assert page.get().status_code == 403
        assert checked == [DagDetails(id="dynalake_watch", team_name="A of dynalake_watch")]


@pytest.mark.newest
def test_the_manager_of_airflow_refuses_another_team(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    monkeypatch.setenv("AIRFLOW__CORE__MULTI_TEAM", "True")
    monkeypatch.setattr("airflow.models.dag.DagModel.get_team_name", lambda dag: "A")
    for team, status in (("A", 200), ("B", 403)):
        user = SimpleAuthManagerUser(username=team, role="viewer", teams=[team])
        page.tokens[team] = get_auth_manager().generate_jwt(user)
        assert page.get(user=team).status_code == status
