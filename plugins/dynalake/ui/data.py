"""The source of the page's content: one object in S3, which `dynalake_watch` wrote."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from cachetools import TTLCache, cached

from dynalake.aws.clients import Clients
from dynalake.capture.lake.registry import find_lake
from dynalake.names import Lake
from dynalake.operators.parameters.which import allowed_connections
from dynalake.operators.task.session import clients_of
from dynalake.watch.status import Overview, TableStatus, load_overview, load_status

CLIENTS_SECONDS = 600
PLACE_SECONDS = 60
CONTENT_SECONDS = 10
"""Seconds between two calls to AWS, for any number of visitors."""


_made: TTLCache[str, Clients] = TTLCache(maxsize=1, ttl=CLIENTS_SECONDS)
_making = threading.Lock()


@dataclass(frozen=True)
class Content:
    """A lake, and what was found there; None where it is not set up, or nobody has watched it yet."""

    environment: str
    lake: Lake | None = None
    overview: Overview | None = None


@cached(TTLCache(maxsize=32, ttl=CONTENT_SECONDS), lock=threading.Lock())
def read_content(environment: str) -> Content:
    """Return the page's content for an environment's lake.

    The connection is that of the API server's environment, never the visitor's choice: a page must not let a viewer
    read through any connection.
    """
    found = _place(environment)
    if found is None:
        return Content(environment)
    clients, lake = found
    return Content(environment, lake, load_overview(clients, lake))


@cached(TTLCache(maxsize=32, ttl=CONTENT_SECONDS), lock=threading.Lock())
def read_status(environment: str, table: str) -> TableStatus | None:
    """Return the page's content for one table of the overview; None where nobody has looked at it yet."""
    found = _place(environment)
    return None if found is None else load_status(found[0], found[1].table(table))


@cached(TTLCache(maxsize=32, ttl=PLACE_SECONDS), lock=threading.Lock())
def _place(environment: str) -> tuple[Clients, Lake] | None:
    """Return the lake and the clients for it, where it is set up."""
    clients = _clients()
    lake = find_lake(clients, environment)
    return None if lake is None else (clients, lake)


def _clients() -> Clients:
    """Return the page's clients, for all environments: a session takes half a second of a processor's time."""
    connection = allowed_connections()[0]
    with _making:
        made: Clients | None = _made.get(connection)
        if made is None:
            made = _made[connection] = clients_of(connection)
        return made
