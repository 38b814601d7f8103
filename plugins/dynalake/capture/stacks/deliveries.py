"""The deliveries of a table's stack: which it has, which one takes the changes, and how it moves to the other.

Firehose begins to read a Kinesis stream some time after it says ACTIVE, and never reads earlier records; when it is
deleted, it loses what it holds. So a delivery is made first (`prepared`), takes changes once it is proven (`started`),
and goes once the next one has taken over and it is empty (`without_former`). The functions are pure and decide on the
stack as it is: each step may be repeated, and begun by another run than the step before.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from dynalake.capture.stacks.stacks import StackState
from dynalake.errors import ConflictError
from dynalake.options.settings import TableSettings

NONE = "none"


@dataclass(frozen=True)
class Deliveries:
    """The deliveries of a table's stack."""

    used: str
    """Delivery that changes go to."""
    beside: str
    """The other delivery, where it exists too: being proven, or a former one and perhaps not empty. Else `none`."""
    reading: bool
    """Whether the table's stream is read."""
    settings_json: str
    """Settings that the forwarder follows."""
    version: str
    """Version of the stack that this was read from; '' where there was none."""

    @property
    def all(self) -> tuple[str, ...]:
        """Existing deliveries."""
        return (self.used, self.beside) if self.beside != NONE else (self.used,)

    @property
    def former(self) -> str | None:
        """Delivery that may have taken changes before, but takes none now."""
        return self.beside if self.beside != NONE else None


def deployed(state: StackState) -> Deliveries | None:
    """Return the deliveries of the table's stack; None where there is no stack."""
    if not state.exists:
        return None
    values = state.parameters
    return Deliveries(
        values["Delivery"], values["Beside"], values["MappingEnabled"] == "true", values["SettingsJson"], state.version
    )


def prepared(now: Deliveries | None, settings: TableSettings) -> Deliveries:
    """Return the deliveries with that of the settings in place. Changes go where they went, if anywhere."""
    if now is None:
        return Deliveries(settings.delivery, NONE, reading=False, settings_json=settings.to_json(), version="")
    if now.used == settings.delivery:
        return replace(now, settings_json=settings.to_json())
    return replace(now, beside=settings.delivery)


def started(now: Deliveries | None, settings: TableSettings) -> Deliveries:
    """Return the deliveries with changes going to the proven one of the settings; the one it replaces stays for now.

    Raises `ConflictError` where that delivery was proven but is gone now.
    """
    if now is None or settings.delivery not in now.all:
        raise ConflictError(
            f"The delivery {settings.delivery!r} of table {settings.table!r} was proven, but is gone now",
            allowed="one run at a time that changes a table's delivery",
            action="run dynalake_setup again",
            table=settings.table,
        )
    beside = now.beside if now.used == settings.delivery else now.used
    return replace(now, used=settings.delivery, beside=beside, reading=True, settings_json=settings.to_json())


def without_former(now: Deliveries) -> Deliveries:
    """Return the deliveries without the other one, which is empty."""
    return replace(now, beside=NONE)
