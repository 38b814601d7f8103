"""The tests of local AWS on an account (`--real`): their resources have recognizable names, and are removed.

They are removed by these names before and after the tests, so that a killed session's resources go, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

PREFIX = "dynalake-conformance-test-"
WHY = "it needs local AWS's faults, its pace, its order, or its roles"

# AWS takes time to create these. Each is the call that creates one, the parameter of its name, and boto3's waiter.
_SLOW = {
    ("dynamodb", "CreateTable"): ("TableName", "table_exists"),
    ("kinesis", "CreateStream"): ("StreamName", "stream_exists"),
    ("kinesis", "UpdateShardCount"): ("StreamName", "stream_exists"),
}


def patient(make: Callable[[str], Any]) -> Callable[[str], Any]:
    """Makes clients whose calls return when the created resource exists, as local AWS's do."""

    def client(service: str) -> Any:
        service_client = make(service)
        for (of, operation), (name, waiter) in _SLOW.items():
            if of == service:
                _wait_after(service_client, f"{of}.{operation}", name, waiter)
        return service_client

    return client


def _wait_after(client: Any, call: str, name: str, waiter: str) -> None:
    def note(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        context["made"] = params[name]

    def wait(http_response: Any, context: dict[str, Any], **_: Any) -> None:
        if http_response.status_code == 200:
            client.get_waiter(waiter).wait(**{name: context["made"]})

    client.meta.events.register(f"before-parameter-build.{call}", note)
    client.meta.events.register(f"after-call.{call}", wait)


def sweep(client: Callable[[str], Any]) -> list[str]:
    """Delete the tests' resources by their names; return the names."""
    dynamodb, kinesis, glue, alarms = (client(name) for name in ("dynamodb", "kinesis", "glue", "cloudwatch"))
    kinds: tuple[tuple[Any, str, str, str, Callable[[str], object]], ...] = (
        (dynamodb, "list_tables", "TableNames", "", lambda name: dynamodb.delete_table(TableName=name)),
        (kinesis, "list_streams", "StreamNames", "", lambda name: kinesis.delete_stream(StreamName=name)),
        (glue, "get_databases", "DatabaseList", "Name", lambda name: glue.delete_database(Name=name)),
        (alarms, "describe_alarms", "MetricAlarms", "AlarmName", lambda name: alarms.delete_alarms(AlarmNames=[name])),
    )
    swept = []
    for service, listing, member, key, delete in kinds:
        pages = service.get_paginator(listing).paginate()
        names = [resource[key] if key else resource for page in pages for resource in page[member]]
        for name in names:
            if name.startswith(PREFIX):
                delete(name)
                swept.append(name)
    return swept
