"""Who may talk to local AWS, which runs Lambda code as the developer: who has the run's key, and no web page.

A page in a browser can send requests to any port of its machine, and with a name of its own for 127.0.0.1 it can read
the answers as well. A browser says of itself `Origin` or `Sec-Fetch-Site`, and the name in `Host`. Another user of the
machine does not: so the key decides.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

KEY_VARIABLE = "DYNALAKE_LOCAL_KEY"
HOSTS = frozenset({"127.0.0.1", "localhost"})
# "none": somebody typed the URL, such as a presigned one.
_OWN_SITES = ("none",)
_CORS = b"access-control-"

Headers = Collection[tuple[bytes, bytes]]
Application = Callable[[Any, Any, Any], Awaitable[None]]


@dataclass(frozen=True)
class Door:
    """What is asked of each request: to one of `hosts`, with the `key` of the run, or one that `issued` knows.

    `issued` says whether STS or IAM gave an access key out. Who acts in another account, and Lambda code, has the
    account's number for a key and the run's key for a session token.
    """

    key: str
    issued: Callable[[str], bool]
    hosts: Collection[str] = HOSTS

    def refusal(self, headers: Headers, query: str) -> str | None:
        """Return why a request is refused, or None."""
        values: dict[str, list[str]] = {}
        for name, value in headers:
            values.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
        if "origin" in values:
            return f"It comes from a web page: Origin is {values['origin'][0][:200]!r}, and there must be none"
        if any(site not in _OWN_SITES for site in values.get("sec-fetch-site", [])):
            return f"It comes from a web page: Sec-Fetch-Site is {values['sec-fetch-site'][0][:200]!r}"
        hosts = values.get("host", [])
        if len(hosts) != 1 or re.sub(r":\d*$", "", hosts[0]) not in self.hosts:
            return f"Host is {', '.join(hosts)[:200]!r}, and must be one of {', '.join(sorted(self.hosts))}"
        access_key, token = _credentials(values, query)
        if self._is_key(access_key) or self._is_key(token) or (access_key and self.issued(access_key)):
            return None
        return "Its access key is not the one of this run, which AWS_ACCESS_KEY_ID has where `.local/env` was sourced"

    def _is_key(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self.key.encode())


def authorization(key: str) -> dict[str, str]:
    """Return the header with which the administrative endpoints are called."""
    return {"Authorization": f"AWS4-HMAC-SHA256 Credential={key}/"}


def behind(door: Door, application: Application) -> Application:
    """Return the application with the door before it; its answers allow no web page to read them."""

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await application(scope, receive, send)
            return
        if scope["type"] != "http":
            # A web socket, which nothing here needs.
            await send({"type": "websocket.close"})
            return
        refused = door.refusal(scope["headers"], scope["query_string"].decode("latin-1"))
        if refused is not None:
            body = json.dumps({"__type": "AccessDenied", "message": f"Local AWS refuses the request. {refused}."})
            headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": body.encode()})
            return

        async def send_without_cors(message: Any) -> None:
            if message["type"] == "http.response.start":
                kept = [pair for pair in message["headers"] if not pair[0].lower().startswith(_CORS)]
                message = {**message, "headers": kept}
            await send(message)

        await application(scope, receive, send_without_cors)

    return guarded


def _credentials(values: dict[str, list[str]], query: str) -> tuple[str, str]:
    """Return the access key and the session token of a request, signed in its header or in its URL; empty for none."""
    asked = {name.lower(): given[0] for name, given in parse_qs(query).items()} if "=" in query else {}
    authorization = values.get("authorization", [""])[0]
    token = values.get("x-amz-security-token", [asked.get("x-amz-security-token", "")])[0]
    if "Credential=" in authorization:
        return authorization.partition("Credential=")[2].partition("/")[0], token
    if "x-amz-credential" in asked:
        return asked["x-amz-credential"].partition("/")[0], token
    # The older signature, which boto3 still makes for URLs.
    return asked.get("awsaccesskeyid", ""), token
