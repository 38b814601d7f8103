"""Registers the page in Airflow: a link in the navigation, and the application behind it."""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin

URL = "/dynalake"


class DynalakePlugin(AirflowPlugin):
    """Airflow finds it by its base class."""

    name = "dynalake"
    external_views: list[Any] = [  # noqa: RUF012  (Airflow's base class has it so)
        {"name": "dynalake", "href": f"{URL}/", "destination": "nav", "category": "browse", "url_route": "dynalake"}
    ]

    @property
    def fastapi_apps(self) -> list[Any]:  # type: ignore[override]
        """Made when it is asked for, which only the API server does: no other component imports FastAPI."""
        from dynalake.ui.app import make_app

        return [{"app": make_app(), "url_prefix": URL, "name": "dynalake"}]
