"""SQL in Athena on local AWS, by awswrangler."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import awswrangler as wr
import boto3

from dynalake.clients import Clients
from dynalake.names import Lake


def athena(clients: Clients, lake: Lake) -> dict[str, Any]:
    """Where awswrangler runs its queries: its parameters for the lake that these clients reach."""
    return {
        "database": lake.database,
        "workgroup": lake.workgroup,
        "boto3_session": _session(clients.athena.meta.endpoint_url),
        "athena_query_wait_polling_delay": 0.02,
    }


def reader(clients: Clients, lake: Lake) -> Callable[[str], Any]:
    """Runs SQL; its answer as a frame."""
    return lambda sql: wr.athena.read_sql_query(sql, ctas_approach=False, **athena(clients, lake))


class _Session(boto3.Session):
    """One client for each service: awswrangler asks for a new one before each call, and that takes longer than it."""

    def __init__(self, endpoint_url: str) -> None:
        super().__init__("test", "test", region_name="us-east-1")
        self._endpoint_url = endpoint_url
        self._made: dict[str, Any] = {}

    def client(self, service_name: str, **options: Any) -> Any:  # type: ignore[override]
        if service_name not in self._made:
            options["endpoint_url"] = self._endpoint_url
            self._made[service_name] = super().client(service_name, **options)  # type: ignore[call-overload]
        return self._made[service_name]


@cache
def _session(endpoint_url: str) -> _Session:
    return _Session(endpoint_url)
