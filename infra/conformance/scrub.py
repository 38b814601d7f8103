"""Remove from a report what identifies the account: account numbers, ARNs, keys, ids and buckets. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

_PATTERNS = (
    # The part after the service in an ARN may contain names of people. Notes may be cut at any point.
    (re.compile(r"arn(?::|%3A)aws[\w-]*(?::|%3A)([a-z0-9-]+)(?::|%3A)[^\s\"'`<>|]*", re.IGNORECASE), r"<ARN of \1>"),
    (re.compile(r"arn(?::|%3A)[^\s\"'`<>|]*", re.IGNORECASE), "<ARN>"),
    (re.compile(r"https?://[^\s\"'`<>|]*amazonaws\.com[^\s\"'`<>|]*", re.IGNORECASE), "<URL of AWS>"),
    (re.compile(r"s3[an]?://[^/\s\"'`<>|]+"), "s3://<bucket>"),
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE), "<id>"),
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids
    (re.compile(r"(?:A3T|ABIA|ACCA|AGPA|AIDA|AIPA|AKIA|ANPA|ANVA|AROA|ASCA|ASIA)[A-Z0-9]{12,}"), "<id>"),
    (re.compile(r"mrk-[0-9a-f]{32}"), "<id>"),
    (re.compile(r"(?<!\d)\d{12}(?!\d)"), "<account>"),
    (re.compile(r"(?<!\d)\d{4}-\d{4}-\d{4}(?!\d)"), "<account>"),
    (re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"), "<e-mail>"),
)


class Scrubber:
    """Removes what identifies an account. `secrets`: known secrets, removed wherever they occur."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = sorted({secret for secret in secrets if secret}, key=len, reverse=True)

    def text(self, text: str) -> str:
        """Return the text without them."""
        for pattern, instead in _PATTERNS:
            text = pattern.sub(instead, text)
        for secret in self._secrets:
            text = re.sub(re.escape(secret), "<secret>", text, flags=re.IGNORECASE)
        return text

    def tree(self, value: Any) -> Any:
        """Return a JSON value without them in its strings and names."""
        match value:
            case str():
                return self.text(value)
            case dict():
                return {self.text(str(name)): self.tree(member) for name, member in value.items()}
            case list() | tuple():
                return [self.tree(member) for member in value]
        return value
