"""Access control of local AWS, which runs Lambda code as the developer: only with the run's key, and no web page.

A web page can send requests to any port of its machine. If its own host name resolves to 127.0.0.1, it can also read
the answers. A browser identifies itself by `Origin` or `Sec-Fetch-Site`, and by the name in `Host`. Another user of the
machine does not, so the key is required.
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
# "none": the user typed the URL, for example a presigned one.
_OWN_SITES = ("none",)
_CORS = b"access-control-"

Headers = Collection[tuple[bytes, bytes]]
Application = Callable[[Any, Any, Any], Awaitable[None]]


@dataclass(frozen=True)
class Door:
    """The condition for each request: it goes to one of `hosts`, with the run's `key` or one that `issued` accepts.

    `issued` says whether STS or IAM issued an access key. Lambda code and callers in another account use the account
    number as their access key and the run's key as their session token.
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
            return f"It comes from a web page: Origin is {values['origin'][0][:200]!r}; send no Origin"
        if any(site not in _OWN_SITES for site in values.get("sec-fetch-site", [])):
            return f"It comes from a web page: Sec-Fetch-Site is {values['sec-fetch-site'][0][:200]!r}"
        hosts = values.get("host", [])
        if len(hosts) != 1 or re.sub(r":\d*$", "", hosts[0]) not in self.hosts:
            return f"Host is {', '.join(hosts)[:200]!r}; it must be one of {', '.join(sorted(self.hosts))}"
        access_key, token = _credentials(values, query)
        if self._is_key(access_key) or self._is_key(token) or (access_key and self.issued(access_key)):
            return None
        return "Its access key is not the one of this run; `source .local/env` sets AWS_ACCESS_KEY_ID to that key"

    def _is_key(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self.key.encode())


def authorization(key: str) -> dict[str, str]:
    """Return the header that authorizes a call of the administrative endpoints."""
    return {"Authorization": f"AWS4-HMAC-SHA256 Credential={key}/"}


def behind(door: Door, application: Application) -> Application:
    """Return the application behind the door; its answers have no CORS headers, so no web page can read them."""

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await application(scope, receive, send)
            return
        if scope["type"] != "http":
            # A web socket: nothing here needs one.
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
    """Return a request's access key and session token, signed in its header or its URL; empty if it has none."""
    parameters = {name.lower(): given[0] for name, given in parse_qs(query).items()} if "=" in query else {}
    authorization = values.get("authorization", [""])[0]
    token = values.get("x-amz-security-token", [parameters.get("x-amz-security-token", "")])[0]
    if "Credential=" in authorization:
        return authorization.partition("Credential=")[2].partition("/")[0], token
    if "x-amz-credential" in parameters:
        return parameters["x-amz-credential"].partition("/")[0], token
    # The older signature, which boto3 still uses for URLs.
    return parameters.get("awsaccesskeyid", ""), token
