"""A Glue that refuses a stale `VersionId` as AWS does, and can lose, delay and throttle the answers to updates."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError, ReadTimeoutError

STALE = "ConcurrentModificationException"


class StrictGlue:
    """Wraps moto's client, which accepts any `VersionId`.

    `faults`: what happens to the next updates, one each: `lose` (lands, the answer is lost), `drop` (does not land, no
    answer), `late` (as `drop`, and lands when `land` is called), `throttle` (is refused before it begins). `before` is
    called before each update.
    """

    def __init__(self, glue: Any) -> None:
        self._glue = glue
        self._versions: dict[tuple[str, str], int] = {}
        self.faults: list[str] = []
        self.before: Callable[[], object] = lambda: None
        self.updates = 0
        self._late: list[dict[str, Any]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._glue, name)

    def get_table(self, **request: Any) -> Any:
        answer = copy.deepcopy(self._glue.get_table(**request))
        answer["Table"]["VersionId"] = str(self._version(request["DatabaseName"], request["Name"]))
        return answer

    def update_table(self, **request: Any) -> Any:
        before, self.before = self.before, lambda: None
        before()
        self.updates += 1
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "throttle":
            raise _error("ThrottlingException")
        if fault in ("drop", "late"):
            if fault == "late":
                self._late.append(copy.deepcopy(request))
            raise ReadTimeoutError(endpoint_url="https://glue")
        answer = self._update(**request)
        if fault == "lose":
            raise ReadTimeoutError(endpoint_url="https://glue")
        return answer

    def land(self) -> list[str]:
        """Deliver the pending calls. Return each outcome: `landed` or Glue's error code."""
        outcomes = []
        for request in self._late:
            try:
                self._update(**request)
                outcomes.append("landed")
            except ClientError as error:
                outcomes.append(error.response["Error"]["Code"])
        self._late.clear()
        return outcomes

    def _update(self, **request: Any) -> Any:
        name = request["DatabaseName"], request["TableInput"]["Name"]
        if "VersionId" in request and request.pop("VersionId") != str(self._version(*name)):
            raise _error(STALE)
        answer = self._glue.update_table(**request)
        self._versions[name] = self._version(*name) + 1
        return answer

    def _version(self, database: str, table: str) -> int:
        return self._versions.get((database, table), 0)


def _error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": code}}, "UpdateTable")
