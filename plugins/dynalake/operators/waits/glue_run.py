"""Waits for a Glue job run in Airflow's triggerer."""

from __future__ import annotations

from collections.abc import AsyncIterator

from airflow.providers.amazon.aws.triggers.glue import GlueJobCompleteTrigger
from airflow.sdk.exceptions import AirflowException
from airflow.triggers.base import TriggerEvent


class GlueRunTrigger(GlueJobCompleteTrigger):
    """The provider's trigger, except that a failed run is an event too.

    The run has stored its own error for the task. Older providers raise instead, and the task could not read it.
    """

    async def run(self) -> AsyncIterator[TriggerEvent]:
        try:
            async for event in super().run():
                yield event
        except AirflowException as error:
            payload = {"status": "error", "message": str(error), "run_id": self.serialize()[1]["run_id"]}
            yield TriggerEvent(payload)  # type: ignore[no-untyped-call]
