"""Where a table's changes go: read from the table's settings, kept for a while."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from dynalake.errors import NotReadyError
from dynalake.names import Lake, TableNames

# On average, half of it passes until the function uses a changed setting.
KEEP_SECONDS = 60.0


@dataclass(frozen=True)
class Target:
    """The stream that takes a table's changes."""

    names: TableNames
    delivery: str
    """`kinesis` or `direct` (Firehose)."""
    max_record_kb: int

    @property
    def stream(self) -> str:
        return self.names.stream if self.delivery == "kinesis" else self.names.direct_delivery_stream

    @classmethod
    def of(cls, names: TableNames, text: str) -> Target:
        """Return the target that the text of the table's settings parameter gives.

        Only the two settings that matter here are read: a setting that this version does not know must not stop the
        table's changes.
        """
        settings = json.loads(text)
        delivery, size = settings.get("delivery"), settings.get("max_record_kb")
        if delivery not in ("kinesis", "direct") or type(size) is not int or size < 1:
            raise NotReadyError(
                f"The settings of table {names.table!r} have delivery {delivery!r} and max_record_kb {size!r}",
                allowed="'kinesis' or 'direct', and a whole number of KiB",
                action="run dynalake_setup for the table again",
                table=names.table,
            )
        return cls(names, delivery, size)


class Targets:
    """The targets of a lake's tables, each read again after `KEEP_SECONDS`.

    A table whose settings cannot be read fails its batch, so that Lambda tries again and nothing is dropped. Settings
    that were read before stay in use while they cannot be read again.
    """

    def __init__(self, lake: Lake, ssm: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._lake = lake
        self._ssm = ssm
        self._clock = clock
        self._kept: dict[str, tuple[float, Target]] = {}

    def get(self, table: str) -> Target:
        """Return the table's target. Raise `NotReadyError` where its settings cannot be read and never were."""
        kept = self._kept.get(table)
        if kept is not None and self._clock() - kept[0] < KEEP_SECONDS:
            return kept[1]
        try:
            target = self._read(table)
        except (ClientError, BotoCoreError, NotReadyError) as error:
            if kept is None:
                raise NotReadyError(
                    f"The settings of table {table!r} cannot be read: {error}",
                    action="run dynalake_setup for the table; until then its changes wait in its stream",
                    table=table,
                ) from error
            target = kept[1]
        self._kept[table] = (self._clock(), target)
        return target

    def forget(self, table: str) -> None:
        """Make the next batch read the table's settings again: its stream did not take this one."""
        self._kept.pop(table, None)

    def _read(self, table: str) -> Target:
        names = self._lake.table(table)
        answer = self._ssm.get_parameter(Name=names.settings_parameter)
        return Target.of(names, answer["Parameter"]["Value"])
