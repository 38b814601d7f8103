"""The tables that a run names: by name, by a pattern, or by a tag that they have in AWS."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase

from dynalake.aws.answers import tolerate
from dynalake.aws.clients import Clients
from dynalake.errors import SettingsError
from dynalake.names import TABLE_PATTERN

_PATTERN = r"[a-zA-Z0-9_.*?-]+"


def choose_tables(clients: Clients, text: str) -> tuple[str, ...]:
    """Return the tables that a text with names, patterns and tags names, in order, each once.

    A name is returned whether or not there is such a table: its own run says so. Raises `SettingsError` for a part of
    the text that is none of them, or a pattern or tag that no table has.
    """
    parts = [part for line in text.split("\n") for piece in line.split(",") if (part := piece.strip())]
    for part in parts:
        check_part(part)
    existing = list_tables(clients) if any(_is_pattern(part) for part in parts) else ()
    chosen: set[str] = set()
    for part in parts:
        chosen |= _tables_of(clients, part, existing)
    if not chosen:
        raise SettingsError(f"'table' is {text!r}, which names no table", allowed=_ALLOWED, action=_ACTION)
    return tuple(sorted(chosen))


_ALLOWED = f"names ({TABLE_PATTERN}), patterns such as orders_*, and tags such as datalake=yes, separated by commas"
_ACTION = "correct 'table', and trigger the DAG again"


def check_part(part: str) -> None:
    """Raise `SettingsError` for a part that is neither a name nor a pattern nor a tag (pure)."""
    key, is_tag, _ = part.partition("=")
    if (is_tag and key.strip()) or re.fullmatch(TABLE_PATTERN, part):
        return
    if not _is_pattern(part) or not re.fullmatch(_PATTERN, part):
        raise SettingsError(f"'table' has {part!r}", allowed=_ALLOWED, action=_ACTION)


def list_tables(clients: Clients) -> tuple[str, ...]:
    """Return the names of all DynamoDB tables of the account and region."""
    pages = clients.dynamodb.get_paginator("list_tables").paginate()
    return tuple(name for page in pages for name in page["TableNames"])


def tagged_tables(clients: Clients, tag: str) -> tuple[str, ...]:
    """Return the DynamoDB tables that have a tag (`key=value`), in order.

    A tag that was changed a moment ago may be missing:
    https://docs.aws.amazon.com/resourcegroupstagging/latest/APIReference/API_GetResources.html
    """
    key, _, value = tag.partition("=")
    pages = clients.tagging.get_paginator("get_resources").paginate(
        TagFilters=[{"Key": key.strip(), "Values": [value.strip()]}], ResourceTypeFilters=["dynamodb:table"]
    )
    arns = (resource["ResourceARN"] for page in pages for resource in page["ResourceTagMappingList"])
    return tuple(sorted(arn.partition(":table/")[2] for arn in arns))


def not_set_up(clients: Clients, tag: str, set_up: Collection[str]) -> tuple[str, ...]:
    """Return the tables with a tag that are not among those that are set up; none if tags may not be read."""
    with tolerate("AccessDenied", "AccessDeniedException"):
        return tuple(table for table in tagged_tables(clients, tag) if table not in set_up)
    return ()


def _tables_of(clients: Clients, part: str, existing: Sequence[str]) -> set[str]:
    if "=" in part:
        found, what = {*tagged_tables(clients, part)}, "has the tag"
    elif _is_pattern(part):
        found, what = {name for name in existing if fnmatchcase(name, part)}, "has a name like"
    else:
        return {part}
    if not found:
        region = clients.dynamodb.meta.region_name
        raise SettingsError(
            f"No DynamoDB table in account {clients.account}, region {region} {what} {part!r}",
            allowed="a tag or a pattern of existing tables; upper and lower case count",
            action=f"{_ACTION}; check the region and the account of the AWS connection, too",
        )
    return found


def _is_pattern(part: str) -> bool:
    return "=" not in part and ("*" in part or "?" in part)
