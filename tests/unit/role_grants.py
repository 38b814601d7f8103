"""The grants of the templates, with values for their parameters, and AWS's lists of actions and resources."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from cfnlint.decode import decode
from cfnlint.schema import PROVIDER_SCHEMA_MANAGER

from tests.support.machine import REPOSITORY

TEMPLATES = REPOSITORY / "infra" / "cloudformation"
PSEUDO = {"AWS::Partition": "aws", "AWS::Region": "eu-west-1", "AWS::AccountId": "123456789012"}
NOTHING = object()
"""The remainder of `AWS::NoValue`."""

Statement = Mapping[str, Any]


def template(name: str) -> dict[str, Any]:
    read, problems = decode(str(TEMPLATES / f"{name}.yaml"))
    assert not problems
    return json.loads(json.dumps(read))  # type: ignore[no-any-return]


class Resolved:
    """A template with values for its parameters; attributes and resources become their own names."""

    def __init__(self, name: str, **parameters: str) -> None:
        self.template = template(name)
        defaults = {n: p.get("Default", n) for n, p in self.template["Parameters"].items()}
        self._values = {**defaults, **PSEUDO, **parameters}

    def policy(self, name: str) -> list[Statement]:
        """Return the statements of a managed policy; actions and resources are lists."""
        return self._statements(self.template["Resources"][name]["Properties"]["PolicyDocument"])

    def inline(self, role: str) -> list[Statement]:
        """Return the statements of a role's own policies."""
        policies = self.template["Resources"][role]["Properties"]["Policies"]
        return [statement for policy in policies for statement in self._statements(policy["PolicyDocument"])]

    def text(self, name: str) -> str:
        """Return a managed policy as IAM counts it: without white space."""
        document = self.resolve(self.template["Resources"][name]["Properties"]["PolicyDocument"])
        return json.dumps(document, separators=(",", ":"))

    def _statements(self, document: Any) -> list[Statement]:
        statements = self.resolve(document)["Statement"]
        return [{**s, "Action": _list(s["Action"]), "Resource": _list(s["Resource"])} for s in statements]

    def resolve(self, node: Any) -> Any:
        if isinstance(node, list):
            return [value for child in node if (value := self.resolve(child)) is not NOTHING]
        if not isinstance(node, dict):
            return node
        match next(iter(node.items()), ("", None)):
            case ("Ref", "AWS::NoValue"):
                return NOTHING
            case ("Ref", name):
                return self._values.get(name, name)
            case ("Fn::GetAtt", parts):
                return ".".join(parts) if isinstance(parts, list) else parts
            case ("Fn::If", [condition, yes, no]):
                return self.resolve(yes if self._holds({"Condition": condition}) else no)
            case ("Fn::Join", [with_, parts]):
                return with_.join(map(str, self.resolve(parts)))
            case ("Fn::Split", [by, text]):
                return str(self.resolve(text)).split(by)
            case ("Fn::Sub", said):
                text, variables = (said, {}) if isinstance(said, str) else (said[0], self.resolve(said[1]))
                values = {**self._values, **variables}
                return re.sub(r"\$\{([^}]+)\}", lambda m: str(values.get(m[1], m[1])), text)
        resolved = {name: self.resolve(child) for name, child in node.items()}
        return {name: value for name, value in resolved.items() if value is not NOTHING}

    def _holds(self, condition: Any) -> bool:
        match next(iter(condition.items())):
            case ("Condition", name):
                return self._holds(self.template["Conditions"][name])
            case ("Fn::Not", [inner]):
                return not self._holds(inner)
            case ("Fn::Or", parts):
                return any(self._holds(part) for part in parts)
            case ("Fn::Equals", [one, other]):
                return str(self.resolve(one)) == str(self.resolve(other))
        raise ValueError(condition)


def resources() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the type and the properties of each resource that the lake's role deploys."""
    for name in ("storage", "forwarder", "table"):
        for resource in template(name)["Resources"].values():
            yield resource["Type"], resource.get("Properties", {})


@cache
def handlers(kind: str) -> frozenset[str]:
    """Return the actions that a type's handlers are allowed to call, including those for tags.

    https://docs.aws.amazon.com/cloudcontrolapi/latest/userguide/resource-types.html
    """
    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema
    calls = [handler["permissions"] for name, handler in schema["handlers"].items() if name != "list"]
    calls.append((schema.get("tagging") or {}).get("permissions") or [])
    return frozenset(action for permissions in calls for action in permissions)


@cache
def _reference() -> Any:
    return json.loads((files("cfnlint") / "data" / "AdditionalSpecs" / "Policies.json").read_text())


def is_action(action: str) -> bool:
    """Return whether the Service Authorization Reference has the action."""
    service, _, name = action.partition(":")
    return name.lower() in _reference().get(service, {}).get("Actions", {})


def has_resource(action: str) -> bool:
    """Return whether a policy can name a resource for the action."""
    service, _, name = action.partition(":")
    entry = _reference()[service]["Actions"][name.lower()]
    return bool(entry and entry.get("Resources"))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
