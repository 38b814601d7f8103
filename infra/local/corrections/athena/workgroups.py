"""Workgroups with the settings that AWS always answers.

https://docs.aws.amazon.com/athena/latest/APIReference/API_WorkGroupConfiguration.html
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ministack.services import athena

ENGINE_VERSION = {"SelectedEngineVersion": "AUTO", "EffectiveEngineVersion": "Athena engine version 3"}


def configuration(name: str) -> dict[str, Any]:
    """A workgroup's settings, those that were never given at their defaults."""
    group = athena._workgroups[name]
    found: dict[str, Any] = group.setdefault("Configuration", {})
    # Every workgroup that is made enforces its settings unless told otherwise; `primary` does not.
    found.setdefault("EnforceWorkGroupConfiguration", name != "primary")
    found.setdefault("PublishCloudWatchMetricsEnabled", name != "primary")
    found.setdefault("RequesterPaysEnabled", False)
    found.setdefault("ResultConfiguration", {})
    found.setdefault("EngineVersion", dict(ENGINE_VERSION))
    return found


def completed(get: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    """GetWorkGroup, with every setting."""

    def act(request: dict[str, Any]) -> Any:
        if request.get("WorkGroup") in athena._workgroups:
            configuration(str(request["WorkGroup"]))
        return get(request)

    return act
