"""Errors of a service, as its answer, and of a service that another one called."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree

from ministack.core.responses import error_response_json


class ServiceError(Exception):
    """A documented error of an operation."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code

    def response(self) -> Any:
        """Return the error as the whole answer."""
        return error_response_json(self.code, str(self), 400)


def require_success(response: Any) -> None:
    """Raise ValueError with the service's own message, which becomes the ResourceStatusReason."""
    status, _, body = response
    if status < 300:
        return
    text = body.decode() if isinstance(body, bytes) else str(body)
    try:
        answer = json.loads(text)
        raise ValueError(f"{answer.get('message', text)} ({answer.get('__type', status)})")
    except json.JSONDecodeError:
        error = ElementTree.fromstring(text)
        raise ValueError(f"{error.findtext('.//{*}Message')} ({error.findtext('.//{*}Code')})") from None
