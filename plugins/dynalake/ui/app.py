"""The page as a FastAPI application that Airflow's API server mounts.

Airflow does not protect applications of plugins, so every route here needs a user who may see the lake's DAG
`dynalake_watch`: the page shows its results. What Airflow knows of runs is shown only to users who may see these runs.
"""

from __future__ import annotations

import base64
import logging
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.core_api.security import GetUserDep, requires_authenticated
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from dynalake.aws.refusals import AWS_ERRORS, explain
from dynalake.errors import DynalakeError, RecordError, SettingsError
from dynalake.options.lakes import dag_of, default_environment, environments, name_dags
from dynalake.ui.data import Content, read_certificate, read_content, read_sources, read_status
from dynalake.ui.detail import table_detail
from dynalake.ui.links import dag_page, lake_links, table_actions, table_links
from dynalake.ui.runs import details_of, read_runs, read_schedule, read_startable
from dynalake.ui.texts import command_of, iso, utc
from dynalake.ui.view import COLUMNS, FIRST, NO_OWNER, overview_view, table_row
from dynalake.version import VERSION
from dynalake.watch.judge import duration
from dynalake.watch.status import WRONG_VALUES

HERE = Path(__file__).parent / "templates"
SCRIPT, STYLE = ((HERE / name).read_text(encoding="utf-8") for name in ("page.js", "page.css"))

logger = logging.getLogger(__name__)

# Every value is escaped: a table, an attribute or an error message may contain anything.
_templates = Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
_templates.globals.update(script=SCRIPT, style=STYLE, version=VERSION)
_templates.filters.update(command=command_of, dags=name_dags, iso=iso, seconds=duration, utc=utc)

_HEADERS = {
    # Nothing from elsewhere, and no script except dynalake's own: so even an unescaped value could not run.
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'self'; "
    f"script-src 'sha256-{base64.b64encode(sha256(SCRIPT.encode()).digest()).decode()}'",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}


def check_user(user: GetUserDep, environment: str = "") -> None:
    """Refuse a user who may not see the lake's watch with 403."""
    try:
        environment = environment or default_environment()
        watch, seen = dag_of("watch", environment), may_see(user, environment)
    except SettingsError as error:
        raise HTTPException(500, str(error)) from None
    if not seen:
        raise HTTPException(403, f"You may not see the DAG {watch}")


def may_see(user: Any, environment: str) -> bool:
    """Return whether the user may see the lake's watch."""
    details = details_of(dag_of("watch", environment))
    return get_auth_manager().is_authorized_dag(method="GET", details=details, user=user)


def make_app() -> FastAPI:
    """Return the application. It can be mounted anywhere: its links are relative."""
    app = FastAPI(
        title="dynalake",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        dependencies=[Depends(requires_authenticated()), Depends(check_user)],
    )

    @app.exception_handler(HTTPException)
    def refuse(_: Request, error: HTTPException) -> HTMLResponse:
        return _page("refused.html", error.status_code, status=error.status_code, detail=error.detail)

    @app.get("/")
    def overview(user: GetUserDep, environment: str = "") -> HTMLResponse:
        return _answer(environment or default_environment(), "", user)

    @app.get("/tables/{table}")
    def table(user: GetUserDep, table: str, environment: str = "") -> HTMLResponse:
        return _answer(environment or default_environment(), table, user)

    @app.get("/sources.yml")
    def sources(environment: str = "") -> Response:
        return _sources(environment or default_environment())

    return app


def _answer(environment: str, table: str, user: Any) -> HTMLResponse:
    """Return a page of the environment's lake, or a page with the error."""
    # The path from this page to the overview, and to Airflow's root.
    home = "../" if table else ""
    others = [name for name in environments() if name != environment and may_see(user, name)]
    place = {
        "environment": environment,
        "query": _query(environment),
        "home": home,
        "airflow": f"{home}../",
        "lakes": [(name, _query(name)) for name in others],
    }
    try:
        return _show(environment, table, user, place)
    except (DynalakeError, *AWS_ERRORS, *WRONG_VALUES) as error:
        return _message(place, *_explained(environment, error))


def _sources(environment: str) -> Response:
    """Return the lake as dbt's sources, or a text with the error: a program asks, not a browser."""
    try:
        text, code = read_sources(environment), 200
    except (DynalakeError, *AWS_ERRORS, *WRONG_VALUES) as error:
        code, received, allowed, action = _explained(environment, error)
        text = "\n".join([received, *([f"Needed: {allowed}"] if allowed else []), f"What to do: {action}", ""])
    if text is None:
        text, code = (
            f"There is no lake {environment!r} yet\nWhat to do: set up its first table with dynalake_setup\n",
            404,
        )
    return PlainTextResponse(text, code, _HEADERS)


def _explained(environment: str, error: Exception) -> tuple[int, str, str, str]:
    """Return what is wrong with a lake: the answer's code, what was received, what is allowed, what to do."""
    if isinstance(error, DynalakeError):
        return 502 if isinstance(error, RecordError) else 400, error.received, error.allowed, error.action
    if isinstance(error, AWS_ERRORS):
        logger.warning("The page cannot read the lake %s: %s", environment, error)
        explained = explain(error)
        if explained is not None:
            return 502, explained.received, explained.allowed, explained.action
        return 502, f"AWS has returned an error: {error}", "", "check the AWS connection"
    # The objects in S3 have the right shape, but values that the watch never writes, such as a year after 9999.
    logger.error("The page cannot show the lake %s", environment, exc_info=error)
    return 502, "The stored status of this lake cannot be shown", "", "run dynalake_watch, which writes it again"


def _show(environment: str, table: str, user: Any, place: dict[str, Any]) -> HTMLResponse:
    content = read_content(environment)
    if content.lake is None or content.overview is None:
        action = "set up its first table with dynalake_setup"
        there = f"There is no lake {environment!r} yet"
        return _message(place, 200, there, "", action, "dynalake_setup", "Set up a table")
    now, watch = datetime.now(UTC), dag_of("watch", environment)
    about = {"watch": watch, "watch_page": dag_page(watch), "schedule": read_schedule(watch)}
    shown: dict[str, Any] = {**place, **about, "content": content}
    if not table:
        view = overview_view(content.overview, content.lake, now)
        return _page(
            "overview.html",
            **shown,
            view=view,
            columns=COLUMNS,
            no_owner=NO_OWNER,
            links=lake_links(content.lake),
            setup_page=dag_page("dynalake_setup"),
        )
    return _show_table(content, table, user, now, shown)


def _show_table(content: Content, table: str, user: Any, now: datetime, shown: dict[str, Any]) -> HTMLResponse:
    assert content.lake is not None
    assert content.overview is not None
    known = next((status for status in content.overview.tables if status.table == table), None)
    if known is None:
        there = f"There is no table {table!r} in this lake"
        action = "see the overview for those that there are, or set it up with dynalake_setup"
        return _message(shown, 404, there, "", action, "dynalake_setup", "Set up a table")
    names = content.lake.table(table)
    status = read_status(content.environment, table) or known
    return _page(
        "table.html",
        **shown,
        first=table_row(status, content.lake, now).state == FIRST,
        detail=table_detail(status, names, now, read_certificate(content.environment, table)),
        links=table_links(names),
        actions=table_actions(names, read_startable(user, content.environment)),
        runs=read_runs(user, content.environment, table),
    )


def _query(environment: str) -> str:
    """Return the query string that keeps a link in the same lake."""
    return "" if environment == default_environment() else f"?{urlencode({'environment': environment})}"


def _message(
    place: dict[str, Any], code: int, received: str, allowed: str, action: str, dag: str = "", button: str = ""
) -> HTMLResponse:
    """Return a page that says what is wrong, and leads to a DAG's form if that helps."""
    texts = {"received": received, "allowed": allowed, "action": action}
    return _page("message.html", code, **place, **texts, dag_page=dag_page(dag), button=button)


def _page(template: str, code: int = 200, **values: Any) -> HTMLResponse:
    return HTMLResponse(_templates.get_template(template).render(**values), code, _HEADERS)
