"""Writes S3 objects on behalf of another service, from any thread but the event loop's."""

from __future__ import annotations

import asyncio

from ministack import app as gateway
from ministack.services import s3

from infra.local.corrections import requests


def put(bucket: str, key: str, body: bytes) -> int:
    """Put one object in the current request's account; the HTTP status that S3 answered."""
    failure = requests.s3_failure("PutObject", bucket, key)
    if failure is not None:
        return failure[0]
    headers = {
        "content-type": "application/octet-stream",
        "content-length": str(len(body)),
        "host": "s3.localhost",
    }
    request = s3.handle_request("PUT", f"/{bucket}/{key}", headers, body, {}, internal=True)
    status, _, _ = asyncio.run_coroutine_threadsafe(request, gateway._MAIN_LOOP).result()
    return int(status)
