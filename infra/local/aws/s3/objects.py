"""Write S3 objects on behalf of another service, from any thread except the event loop's."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from ministack import app as gateway
from ministack.services import s3

from infra.local.aws import faults


def put(bucket: str, key: str, body: bytes, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Put an object in the current request's account; return S3's HTTP status, and the object's ETag."""
    failure = faults.s3_answer("PutObject", bucket, key)
    if failure is not None:
        return failure[0], ""
    content = {"content-type": "application/octet-stream", "content-length": str(len(body)), "host": "s3.localhost"}
    request = s3.handle_request("PUT", f"/{bucket}/{key}", {**(headers or {}), **content}, body, {}, internal=True)
    status, answered, _ = asyncio.run_coroutine_threadsafe(request, gateway._MAIN_LOOP).result()
    return int(status), str(answered.get("ETag", "")).strip('"')
