"""The errors a query can end with, named as Athena names them in `StateChangeReason`."""

from __future__ import annotations


class QueryError(Exception):
    """A query that fails; `str()` is what `StateChangeReason` says."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}" if code else message)
        self.code = code
        self.message = message


def not_supported(construct: str) -> QueryError:
    """The failure of a statement that the local Athena does not run."""
    return QueryError("NOT_SUPPORTED", f"The local Athena does not support {construct}")
