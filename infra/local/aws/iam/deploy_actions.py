"""The actions that CloudFormation needs in the role of a stack, by types of resources: `deploy_actions.yaml`.

Nothing here needs the server, so tests can compare the actions with the resources' schemas.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class Kind:
    """One type of resource, as the file explains it."""

    arn: str
    name: str
    create: str
    update: str
    delete: str
    tag: str = ""
    untag: str = ""
    context: Mapping[str, str] = field(default_factory=dict)


def actions_of(kind: Kind, operation: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each action of an operation with its resource. `old`: the properties before an update."""
    texts = getattr(kind, operation).split()
    before, after = _tags(old), _tags(new)
    if operation == "create" or (operation == "update" and before != after):
        texts += kind.tag.split()
    if operation == "update" and not before.keys() <= after.keys():
        texts += kind.untag.split()
    for text in texts:
        action, _, place = text.partition("@")
        action, _, needed = action.partition("?")
        value = _get(new, needed)
        if needed and not (value != _get(old, needed) if operation == "update" else value):
            continue
        yield action, place or kind.arn


def _get(properties: Mapping[str, Any], name: str) -> Any:
    value: Any = properties
    for part in name.split("."):
        value = (value or {}).get(part)
    return value


def _tags(properties: Mapping[str, Any]) -> dict[str, str]:
    tags = properties.get("Tags") or {}
    return dict(tags) if isinstance(tags, Mapping) else {tag["Key"]: tag["Value"] for tag in tags}


KINDS = {kind: Kind(**of) for kind, of in yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text()).items()}
"""The kinds by type."""
