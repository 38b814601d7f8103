"""Registers in Airflow the page (a link in the navigation, and the application behind it) and the runs' notes."""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin

from dynalake.operators.task import run_note

URL = "/dynalake"

# Three waves over a lake, as a data URI, because the browser may request an image without the login.
ICON = (
    "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24' fill='none' stroke='%235a9ce6' "
    "stroke-width='2' stroke-linecap='round'><path d='M3 7q3-3 6 0t6 0 6 0M3 13q3-3 6 0t6 0 6 0M3 19q3-3 6 0t6 0 6 0'/>"
    "</svg>"
)


class DynalakePlugin(AirflowPlugin):
    """The plugin, which Airflow finds by its base class."""

    name = "dynalake"
    external_views: list[Any] = [  # noqa: RUF012  (Airflow's base class has it so)
        {
            "name": "dynalake",
            "href": f"{URL}/",
            "destination": "nav",
            "url_route": "dynalake",
            "nav_top_level": True,
            "icon": ICON,
            "icon_dark_mode": ICON,
        }
    ]
    listeners: list[Any] = [run_note]  # noqa: RUF012

    @property
    def fastapi_apps(self) -> list[Any]:  # type: ignore[override]
        """The application, made on request by the API server: no other component imports FastAPI."""
        from dynalake.ui.app import make_app

        return [{"app": make_app(), "url_prefix": URL, "name": "dynalake"}]
