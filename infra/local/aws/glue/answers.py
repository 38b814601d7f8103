"""Common parts of the Glue operations here: errors, names, pages, and the stored records."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any

from ministack.core.responses import json_response
from ministack.services import glue

from infra.local.aws.responses import ServiceError

Request = Mapping[str, Any]
Response = tuple[int, dict[str, str], bytes]

_FOLDED = ("DatabaseName", "TableName", "Name")
# Glue serves requests on threads: operations that read and then write a record must not interleave.
_lock = threading.RLock()


def guarded(operation: Callable[..., Response]) -> Callable[..., Response]:
    """Return the operation with a lock, with names as Glue stores them, and with errors as answers."""

    @wraps(operation)
    def act(*arguments: Any) -> Response:
        *original, request = arguments
        with _lock:
            try:
                return operation(*original, _folded(request))
            except ServiceError as error:
                response: Response = error.response()
                return response

    return act


def invalid(message: str) -> ServiceError:
    """Return an InvalidInputException."""
    return ServiceError("InvalidInputException", message)


def missing(message: str) -> ServiceError:
    """Return an EntityNotFoundException."""
    return ServiceError("EntityNotFoundException", message)


def answer(content: Mapping[str, Any]) -> Response:
    """Return a successful answer."""
    response: Response = json_response(dict(content))
    return response


def table(request: Request) -> tuple[str, dict[str, Any]]:
    """Return the key and record of the table that a request names by DatabaseName and TableName."""
    database, name = str(request.get("DatabaseName", "")), str(request.get("TableName", ""))
    key = f"{database}/{name}"
    record = glue._tables.get(key)
    if record is None:
        raise missing(f"Table {name} not found in database {database}.")
    return key, record


def page(items: Sequence[Any], request: Request, most: int) -> tuple[list[Any], dict[str, str]]:
    """Return a page of the items, and the NextToken if there are more."""
    limit = int(request.get("MaxResults") or most)
    if not 1 <= limit <= most:
        raise invalid(f"MaxResults must be between 1 and {most}, and is {limit}")
    try:
        first = int(request.get("NextToken") or 0)
    except ValueError:
        raise invalid(f"Invalid NextToken: {request['NextToken']}") from None
    more = {"NextToken": str(first + limit)} if first + limit < len(items) else {}
    return list(items[first : first + limit]), more


def copied(record: Any) -> Any:
    """Return an independent copy."""
    return json.loads(json.dumps(record))


def _folded(request: Request) -> dict[str, Any]:
    """Return the request with names of databases and tables in lower case, as Glue stores them."""
    folded: dict[str, Any] = {
        field: value.lower() if field in _FOLDED and isinstance(value, str) else value
        for field, value in request.items()
    }
    for field in ("TableInput", "DatabaseInput"):
        if isinstance(folded.get(field), dict) and isinstance(folded[field].get("Name"), str):
            folded[field] = {**folded[field], "Name": folded[field]["Name"].lower()}
    if isinstance(folded.get("TablesToDelete"), list):
        folded["TablesToDelete"] = [name.lower() for name in folded["TablesToDelete"]]
    return folded
