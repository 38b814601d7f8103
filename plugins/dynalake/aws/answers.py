"""What AWS answered when a call failed. Stages decide on its code, and need not know boto3's errors."""

from __future__ import annotations

from types import TracebackType


def code_of(error: BaseException | None) -> str:
    """Return the code of AWS's answer, such as `NoSuchKey`; '' for any other error."""
    return _answer(error).get("Code", "")


def message_of(error: BaseException | None) -> str:
    """Return the message of AWS's answer; '' for any other error."""
    return _answer(error).get("Message", "")


def _answer(error: BaseException | None) -> dict[str, str]:
    response = getattr(error, "response", None)
    answer = response.get("Error") if isinstance(response, dict) else None
    return answer if isinstance(answer, dict) else {}


class tolerate:
    """Suppress AWS's answers with one of these codes in a `with` block; any other error passes."""

    def __init__(self, *codes: str) -> None:
        self._codes = codes

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        return error is not None and code_of(error) in self._codes
