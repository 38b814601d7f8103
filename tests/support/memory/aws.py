"""S3 and Glue in memory, with their own clock: fast enough for thousands of interleaved calls.

Only what the lake calls, as AWS documents it: conditional puts and deletes, listings by prefix, `VersionId`.
`on_call`, if set, is called with the service and the call's name before each call; its exceptions are raised.
"""

from __future__ import annotations

import bisect
import hashlib
import io
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any, NamedTuple

from botocore.exceptions import ClientError

from dynalake.aws.clients import Clients

EPOCH = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass
class Clock:
    """The time in seconds since the epoch; only the test moves it."""

    now: float = EPOCH.timestamp()

    @property
    def moment(self) -> datetime:
        return datetime.fromtimestamp(self.now, UTC)

    def move(self, *, days: float = 0, seconds: float = 0) -> None:
        self.now += days * 86400 + seconds


OnCall = Callable[[str, str, dict[str, Any]], None]


def nothing(service: str, call: str, request: dict[str, Any]) -> None:
    """Do nothing before a call."""


class _Stored(NamedTuple):
    body: bytes
    modified: float
    etag: str


class _Body(io.BytesIO):
    pass


@dataclass
class MemoryS3:
    """One bucket."""

    clock: Clock
    page: int = 1000
    objects: dict[str, _Stored] = field(default_factory=dict)
    on_call: OnCall = nothing
    deletes_by_etag: bool = True
    _keys: list[str] = field(default_factory=list)

    def put_object(self, **request: Any) -> dict[str, Any]:
        self.on_call("s3", "put_object", request)
        key, current = request["Key"], self.objects.get(request["Key"])
        if request.get("IfNoneMatch") == "*" and current is not None:
            raise error("PreconditionFailed", "PutObject", 412)
        if "IfMatch" in request and (current is None or current.etag != request["IfMatch"]):
            raise error("NoSuchKey" if current is None else "PreconditionFailed", "PutObject", 412)
        body = bytes(request["Body"])
        stored = _Stored(body, self.clock.now, f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"')
        if current is None:
            bisect.insort(self._keys, key)
        self.objects[key] = stored
        return {"ETag": stored.etag}

    def get_object(self, **request: Any) -> dict[str, Any]:
        self.on_call("s3", "get_object", request)
        stored = self._find(request["Key"], "GetObject", "NoSuchKey")
        if "IfMatch" in request and stored.etag != request["IfMatch"]:
            raise error("PreconditionFailed", "GetObject", 412)
        body = stored.body
        if "Range" in request:
            first, last = request["Range"].removeprefix("bytes=").split("-")
            body = body[int(first) : int(last) + 1]
        return {"Body": _Body(body), "ETag": stored.etag, "ContentLength": len(body)}

    def head_object(self, **request: Any) -> dict[str, Any]:
        self.on_call("s3", "head_object", request)
        stored = self._find(request["Key"], "HeadObject", "404")
        return {"ContentLength": len(stored.body), "ETag": stored.etag, "LastModified": _moment(stored.modified)}

    def delete_object(self, **request: Any) -> dict[str, Any]:
        self.on_call("s3", "delete_object", request)
        self._delete(request["Key"])
        return {}

    def delete_objects(self, **request: Any) -> dict[str, Any]:
        self.on_call("s3", "delete_objects", request)
        assert len(request["Delete"]["Objects"]) <= 1000
        errors = []
        for entry in request["Delete"]["Objects"]:
            stored = self.objects.get(entry["Key"])
            if self.deletes_by_etag and "ETag" in entry and (stored is None or stored.etag != entry["ETag"]):
                errors.append({"Key": entry["Key"], "Code": "PreconditionFailed", "Message": "…"})
            else:
                self._delete(entry["Key"])
        return {"Errors": errors} if errors else {}

    def list_objects_v2(self, **request: Any) -> dict[str, Any]:
        self.on_call("s3", "list_objects_v2", request)
        prefix, delimiter = request.get("Prefix", ""), request.get("Delimiter", "")
        after = request.get("ContinuationToken") or request.get("StartAfter", "")
        contents: list[dict[str, Any]] = []
        folders: list[str] = []
        at = bisect.bisect_left(self._keys, prefix)
        token = None
        for key in self._keys[at:]:
            if not key.startswith(prefix):
                break
            folder = ""
            if delimiter and delimiter in key[len(prefix) :]:
                folder = prefix + key[len(prefix) :].split(delimiter)[0] + delimiter
            if key <= after or (folder and (folder in folders or after.startswith(folder))):
                continue
            if len(contents) + len(folders) == min(request.get("MaxKeys", self.page), self.page):
                token = contents[-1]["Key"] if contents else ""
                token = max([token, *(f"{f}\uffff" for f in folders)])
                break
            if folder:
                folders.append(folder)
            else:
                stored = self.objects[key]
                modified = _moment(float(int(stored.modified)))
                contents.append({"Key": key, "Size": len(stored.body), "ETag": stored.etag, "LastModified": modified})
        answer: dict[str, Any] = {
            "IsTruncated": token is not None,
            "KeyCount": len(contents) + len(folders),
            "ResponseMetadata": {"HTTPHeaders": {"date": format_datetime(self.clock.moment, usegmt=True)}},
        }
        if contents:
            answer["Contents"] = contents
        if folders:
            answer["CommonPrefixes"] = [{"Prefix": f} for f in folders]
        if token is not None:
            answer["NextContinuationToken"] = token
        return answer

    def get_paginator(self, call: str) -> Any:
        assert call == "list_objects_v2"
        return SimpleNamespace(paginate=self._pages)

    def keys(self, prefix: str = "") -> set[str]:
        """Return all keys below a prefix."""
        return {key for key in self.objects if key.startswith(prefix)}

    def _pages(self, **request: Any) -> Iterator[dict[str, Any]]:
        while True:
            page = self.list_objects_v2(**request)
            yield page
            if not page["IsTruncated"]:
                return
            request["ContinuationToken"] = page["NextContinuationToken"]

    def _find(self, key: str, operation: str, code: str) -> _Stored:
        stored = self.objects.get(key)
        if stored is None:
            raise error(code, operation, 404)
        return stored

    def _delete(self, key: str) -> None:
        if self.objects.pop(key, None) is not None:
            self._keys.remove(key)


class EntityNotFoundException(ClientError):
    """As Glue's."""


class AlreadyExistsException(ClientError):
    """As Glue's."""


class ConcurrentModificationException(ClientError):
    """As Glue's."""


@dataclass
class MemoryGlue:
    """One database. `late` holds updates that were sent and have not arrived yet; `land` delivers them."""

    clock: Clock
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    partitions: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    optimizers: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    on_call: OnCall = nothing
    late: list[dict[str, Any]] = field(default_factory=list)
    database: bool = True
    exceptions: Any = field(
        default_factory=lambda: SimpleNamespace(
            EntityNotFoundException=EntityNotFoundException,
            AlreadyExistsException=AlreadyExistsException,
            ConcurrentModificationException=ConcurrentModificationException,
        )
    )

    def get_database(self, **request: Any) -> dict[str, Any]:
        self.on_call("glue", "get_database", request)
        if not self.database:
            raise _glue_error(EntityNotFoundException, "GetDatabase")
        return {"Database": {"Name": request["Name"]}}

    def create_database(self, **request: Any) -> dict[str, Any]:
        self.on_call("glue", "create_database", request)
        if self.database:
            raise _glue_error(AlreadyExistsException, "CreateDatabase")
        self.database = True
        return {}

    def get_table(self, **request: Any) -> dict[str, Any]:
        self.on_call("glue", "get_table", request)
        return {"Table": _copied(self._find(request["Name"], "GetTable"))}

    def create_table(self, **request: Any) -> dict[str, Any]:
        self.on_call("glue", "create_table", request)
        table = _copied(request["TableInput"])
        if not self.database:
            raise _glue_error(EntityNotFoundException, "CreateTable")
        if table["Name"] in self.tables:
            raise _glue_error(AlreadyExistsException, "CreateTable")
        self.tables[table["Name"]] = {**table, "DatabaseName": request["DatabaseName"], "VersionId": "0"}
        return {}

    def update_table(self, **request: Any) -> dict[str, Any]:
        self.on_call("glue", "update_table", request)
        return self.update(request)

    def update(self, request: dict[str, Any]) -> dict[str, Any]:
        """Apply an update."""
        table = _copied(request["TableInput"])
        stored = self._find(table["Name"], "UpdateTable")
        if request.get("VersionId", stored["VersionId"]) != stored["VersionId"]:
            raise _glue_error(ConcurrentModificationException, "UpdateTable")
        version = str(int(stored["VersionId"]) + 1)
        self.tables[table["Name"]] = {**table, "DatabaseName": request["DatabaseName"], "VersionId": version}
        return {}

    def delete_table(self, **request: Any) -> dict[str, Any]:
        self.on_call("glue", "delete_table", request)
        self._find(request["Name"], "DeleteTable")
        del self.tables[request["Name"]]
        return {}

    def get_table_optimizer(self, **request: Any) -> dict[str, Any]:
        self.on_call("glue", "get_table_optimizer", request)
        configuration = self.optimizers.get((request["TableName"], request["Type"]))
        if configuration is None:
            raise _glue_error(EntityNotFoundException, "GetTableOptimizer")
        return {"TableOptimizer": {"type": request["Type"], "configuration": configuration}}

    def get_paginator(self, call: str) -> Any:
        assert call == "get_partitions"
        return SimpleNamespace(paginate=self._partition_pages)

    def _partition_pages(self, **request: Any) -> Iterator[dict[str, Any]]:
        self.on_call("glue", "get_partitions", request)
        self._find(request["TableName"], "GetPartitions")
        yield {"Partitions": _copied(self.partitions.get(request["TableName"], []))}

    def _find(self, name: str, operation: str) -> dict[str, Any]:
        if name not in self.tables:
            raise _glue_error(EntityNotFoundException, operation)
        return self.tables[name]


def memory_clients(s3: MemoryS3, glue: MemoryGlue) -> Clients:
    """Return the clients of one process."""
    services: dict[str, Any] = {"s3": s3, "glue": glue}
    return Clients(lambda service: services[service])


def error(code: str, operation: str, status: int) -> ClientError:
    """Return an error as boto3 raises it."""
    response: Any = {"Error": {"Code": code, "Message": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, operation)


def _copied(entry: Any) -> Any:
    """Return a deep copy, ten times as fast as `copy.deepcopy`."""
    return pickle.loads(pickle.dumps(entry))


def _glue_error(kind: type[ClientError], operation: str) -> ClientError:
    return kind({"Error": {"Code": kind.__name__, "Message": "…"}}, operation)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
