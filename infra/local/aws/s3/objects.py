"""Write S3 objects on behalf of another service, from any thread except the event loop's."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any

from ministack import app as gateway
from ministack.services import s3

from infra.local.aws import faults


def put(bucket: str, key: str, body: bytes, headers: Mapping[str, str] | None = None) -> int:
    """Put an object in the current request's account; return S3's HTTP status."""
    failure = faults.s3_answer("PutObject", bucket, key)
    if failure is not None:
        return failure[0]
    return _request("PUT", bucket, key, body, {}, headers)[0]


def put_in_parts(bucket: str, key: str, body: bytes, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Put an object by an upload of one part. Return the status and the ETag, which is not the content's MD5."""
    failure = faults.s3_answer("PutObject", bucket, key)
    if failure is not None:
        return failure[0], ""
    status, _, answer = _request("POST", bucket, key, b"", {"uploads": [""]}, headers)
    if status != 200:
        return status, ""
    upload = re.findall("<UploadId>(.*?)</UploadId>", answer.decode())[0]
    _, headers, _ = _request("PUT", bucket, key, body, {"partNumber": ["1"], "uploadId": [upload]})
    tag = {name.lower(): value for name, value in headers.items()}["etag"]
    parts = (
        f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{tag}</ETag></Part></CompleteMultipartUpload>"
    )
    status, _, answer = _request("POST", bucket, key, parts.encode(), {"uploadId": [upload]})
    return status, re.findall("<ETag>(.*?)</ETag>", answer.decode())[0].replace("&quot;", "")


def _request(
    method: str, bucket: str, key: str, body: bytes, query: dict[str, Any], more: Mapping[str, str] | None = None
) -> tuple[int, Any, bytes]:
    headers = {
        **(more or {}),
        "content-type": "application/octet-stream",
        "content-length": str(len(body)),
        "host": "s3.localhost",
    }
    request = s3.handle_request(method, f"/{bucket}/{key}", headers, body, query, internal=True)
    status, answered, content = asyncio.run_coroutine_threadsafe(request, gateway._MAIN_LOOP).result()
    return int(status), answered, content if isinstance(content, bytes) else str(content).encode()
