"""The page as a FastAPI application that Airflow's API server mounts.

Airflow does not protect applications of plugins, so every route here needs a user who may see the DAG `dynalake_watch`:
the page shows its results.
"""

from __future__ import annotations

import base64
import logging
from dataclasses import fields
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagDetails
from airflow.api_fastapi.core_api.security import GetUserDep, requires_authenticated
from airflow.models.dag import DagModel
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from dynalake.aws.refusals import AWS_ERRORS, explain
from dynalake.errors import DynalakeError, RecordError
from dynalake.options.where import default_environment
from dynalake.ui.data import read_content, read_status
from dynalake.ui.view import overview_view, table_detail
from dynalake.watch.status import WRONG_VALUES

DAG = "dynalake_watch"
HERE = Path(__file__).parent / "templates"
SCRIPT = (HERE / "page.js").read_text(encoding="utf-8")

logger = logging.getLogger(__name__)

# Every value is escaped: a table, an attribute or an error message may contain anything.
_templates = Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
_templates.globals["script"] = SCRIPT

_HEADERS = {
    # Nothing from elsewhere, and no script except dynalake's own: so even an unescaped value could not run.
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'self'; "
    f"script-src 'sha256-{base64.b64encode(sha256(SCRIPT.encode()).digest()).decode()}'",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}


def may_see(user: GetUserDep) -> None:
    """Refuse a user who may not see the DAG with 403."""
    if not get_auth_manager().is_authorized_dag(method="GET", details=_dag(), user=user):
        raise HTTPException(403, f"You may not see the DAG {DAG}")


def _dag() -> DagDetails:
    """Return the DAG as Airflow's own routes do: with its team, if Airflow has teams."""
    if "team_name" not in {field.name for field in fields(DagDetails)}:
        return DagDetails(id=DAG)
    return DagDetails(id=DAG, team_name=DagModel.get_team_name(DAG))


def make_app() -> FastAPI:
    """Return the application. It can be mounted anywhere: its links are relative."""
    app = FastAPI(
        title="dynalake",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        dependencies=[Depends(requires_authenticated()), Depends(may_see)],
    )

    @app.exception_handler(HTTPException)
    def refuse(_: Request, error: HTTPException) -> HTMLResponse:
        return _page("refused.html", error.status_code, status=error.status_code, detail=error.detail)

    @app.get("/")
    def overview(environment: str = "") -> HTMLResponse:
        return _answer(environment or default_environment(), "")

    @app.get("/tables/{table}")
    def table(table: str, environment: str = "") -> HTMLResponse:
        return _answer(environment or default_environment(), table)

    return app


def _answer(environment: str, table: str) -> HTMLResponse:
    """Return a page of the environment's lake, or a page with the error."""
    try:
        return _show(environment, table)
    except RecordError as error:
        return _message(environment, 502, error.received, error.allowed, error.action)
    except DynalakeError as error:
        return _message(environment, 400, error.received, error.allowed, error.action)
    except AWS_ERRORS as error:
        logger.warning("The page cannot read the lake %s: %s", environment, error)
        explained = explain(error)
        if explained is not None:
            return _message(environment, 502, explained.received, explained.allowed, explained.action)
        return _message(environment, 502, f"AWS has returned an error: {error}", "", "check the AWS connection")
    except WRONG_VALUES:
        # The objects in S3 have the right shape, but values that the watch never writes, such as a year after 9999.
        logger.exception("The page cannot show the lake %s", environment)
        return _message(
            environment, 502, "The stored status of this lake cannot be shown", "", f"run {DAG}, which writes it again"
        )


def _show(environment: str, table: str) -> HTMLResponse:
    content = read_content(environment)
    if content.lake is None:
        action = "trigger dynalake_setup with its first table, or open this page with ?environment=…"
        return _message(environment, 200, f"There is no lake {environment!r} yet", "", action)
    if content.overview is None:
        return _message(environment, 200, "This lake has not been checked yet", "", f"unpause {DAG}")
    now = datetime.now(UTC)
    if not table:
        view = overview_view(content.overview, content.lake, now)
        return _page("overview.html", content=content, view=view, query=_query(environment))
    overview_status = next((status for status in content.overview.tables if status.table == table), None)
    if overview_status is None:
        return _message(environment, 404, f"There is no table {table!r} in this lake", "", "see the overview")
    detail = table_detail(read_status(environment, table) or overview_status, content.lake.table(table), now)
    return _page("table.html", content=content, detail=detail, query=_query(environment))


def _query(environment: str) -> str:
    """Return the query string that keeps a link in the same lake."""
    return "" if environment == default_environment() else f"?{urlencode({'environment': environment})}"


def _message(environment: str, code: int, received: str, allowed: str, action: str) -> HTMLResponse:
    texts = {"received": received, "allowed": allowed, "action": action}
    return _page("message.html", code, environment=environment, **texts)


def _page(template: str, code: int = 200, **values: Any) -> HTMLResponse:
    return HTMLResponse(_templates.get_template(template).render(**values), code, _HEADERS)
