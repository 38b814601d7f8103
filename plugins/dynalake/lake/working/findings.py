"""The findings of a night's upkeep or a scrub: for the log, the watch and the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

MADE_AGAIN = (
    "to start over with the new one, run dynalake_teardown with delete_data, then dynalake_setup; to keep the data of "
    "the old one, set up the new one in another environment"
)
"""Advice for a DynamoDB table that was deleted and made again under its name (`lake/tables/identity.py`)."""

ALLOW_CHANGES = (
    "to give them columns, run dynalake_compact for this table with allow_schema_changes; to keep an attribute out for "
    "good, list it under 'never' in the setting columns"
)
"""Advice for values that wait in `__other` because the setting `schema_changes` is `refuse`."""


@dataclass(frozen=True)
class Finding:
    """Something that should not be so.

    `kind` is a word for code; `table` the Glue table or the DynamoDB table; `day` a `dt`, or '' where it is about more
    than one; `what` says it in a sentence; `count` how many objects, files or rows it is about; `plan` what is done
    about it, and who does it.
    """

    kind: str
    table: str
    what: str
    plan: str
    day: str = ""
    count: int = 1

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Finding:
        return cls(**values)
