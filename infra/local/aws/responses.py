"""Answers of a service that another service called."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree


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
