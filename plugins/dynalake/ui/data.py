"""The source of the page's content: the lake's overview and each table's status in S3, written by `dynalake_watch`."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from cachetools import TTLCache, cached

from dynalake.aws.clients import Clients
from dynalake.capture.lake.registry import find_lake, list_tables
from dynalake.certify.certificate import Certificate, load_certificate
from dynalake.errors import RecordError
from dynalake.lake.catalog.table import Table
from dynalake.lake.current.view_entries import read_entry
from dynalake.names import Lake
from dynalake.operators.task.session import clients_of
from dynalake.options.lakes import LakeEntry, find_entry
from dynalake.ui.dbt_sources import SourceTable, source_names, sources_yaml
from dynalake.watch.judge import Targets
from dynalake.watch.readings import Readings
from dynalake.watch.status import READERS, WRONG_VALUES, Overview, TableStatus, load_overview, load_status

CLIENTS_SECONDS = 600
PLACE_SECONDS = 60
CONTENT_SECONDS = 10
"""Fewest seconds between two calls to AWS, for any number of visitors."""


_made: TTLCache[LakeEntry, Clients] = TTLCache(maxsize=32, ttl=CLIENTS_SECONDS)
_making: defaultdict[LakeEntry, threading.Lock] = defaultdict(threading.Lock)
"""A lock for each lake: one whose connection does not answer must not block the others."""


@dataclass(frozen=True)
class Content:
    """A lake and its overview; None if the lake is not set up.

    Before the first check, the overview has the tables that are set up, and is of 1970.
    """

    environment: str
    lake: Lake | None = None
    overview: Overview | None = None


@cached(TTLCache(maxsize=32, ttl=CONTENT_SECONDS), lock=threading.Lock())
def read_content(environment: str) -> Content:
    """Return the page's content for an environment's lake.

    Raises `SettingsError` for one that this Airflow does not have. A visitor chooses a lake, never a connection: the
    page must not let a viewer read through any connection.
    """
    place = _place(environment)
    if place is None:
        return Content(environment)
    clients, lake = place
    return Content(
        environment, lake, load_overview(clients, lake) or unchecked(environment, list_tables(clients, lake))
    )


def unchecked(environment: str, tables: Iterable[str]) -> Overview:
    """Return the overview of a lake before its first check."""
    return Overview(environment, 0, tuple(TableStatus.of(table, Readings(0), Targets()) for table in tables))


@cached(TTLCache(maxsize=32, ttl=CONTENT_SECONDS), lock=threading.Lock())
def read_status(environment: str, table: str) -> TableStatus | None:
    """Return the page's content for one table of the overview; None if it was not checked yet."""
    place = _place(environment)
    return None if place is None else load_status(Table(place[0], place[1].table(table)))


@cached(TTLCache(maxsize=32, ttl=CONTENT_SECONDS), lock=threading.Lock())
def read_certificate(environment: str, table: str) -> Certificate | None:
    """Return a table's last certificate; None if there is none yet, or none that can be read."""
    place = _place(environment)
    with suppress(RecordError, *WRONG_VALUES):
        return None if place is None else load_certificate(Table(place[0], place[1].table(table)))
    return None


@cached(TTLCache(maxsize=32, ttl=CONTENT_SECONDS), lock=threading.Lock())
def read_sources(environment: str) -> str | None:
    """Return the lake's tables as dbt's sources; None if it is not set up."""
    place, content = _place(environment), read_content(environment)
    if place is None or content.overview is None:
        return None
    clients, lake = place
    checked = content.overview.tables
    new = {*list_tables(clients, lake)} - {status.table for status in checked}

    def read(status: TableStatus) -> SourceTable:
        table = Table(clients, lake.table(status.table))
        entries = {name: read_entry(table, name) for name in source_names(table.names)}
        there = {name: entry for name, entry in entries.items() if entry is not None}
        return SourceTable(table.names, there, status.targets, status.readings.owner)

    with ThreadPoolExecutor(READERS) as pool:
        return sources_yaml(lake, pool.map(read, (*checked, *unchecked(environment, sorted(new)).tables)))


@cached(TTLCache(maxsize=32, ttl=PLACE_SECONDS), lock=threading.Lock())
def _place(environment: str) -> tuple[Clients, Lake] | None:
    """Return the clients and the lake; None if it is not set up."""
    clients = _clients(find_entry(environment))
    lake = find_lake(clients, environment)
    return None if lake is None else (clients, lake)


def _clients(entry: LakeEntry) -> Clients:
    """Return the clients of a lake, made once: a new session takes half a second of processor time."""
    with _making[entry]:
        return _make(entry)


@cached(_made, lock=threading.Lock())
def _make(entry: LakeEntry) -> Clients:
    return clients_of(entry)
