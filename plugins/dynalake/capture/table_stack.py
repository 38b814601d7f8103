"""The steps of a table's stack: make its delivery, send changes there, remove the delivery before it.

Each step reads the stack, decides by it (`dynalake.capture.stacks.deliveries`), and deploys on that version alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from dynalake.capture.proof.verify import check_delivery
from dynalake.capture.source.source import Source
from dynalake.capture.stacks.deliveries import Deliveries, deployed, prepared, started, without_former
from dynalake.capture.stacks.specs import table_spec
from dynalake.capture.stacks.stacks import StackOutputs, StackPlan, StackSpec, apply_stack, plan_stack, stack_state
from dynalake.errors import ConflictError, NotReadyError
from dynalake.lake.catalog.table import Table
from dynalake.options.settings import TableSettings
from dynalake.sizing.limits import read_stream
from dynalake.sizing.shards import shard_steps


@dataclass(frozen=True)
class TableStack:
    """A table's stack as it is, and as it should become."""

    table: Table
    settings: TableSettings
    source: Source
    storage: StackOutputs
    forwarder: StackOutputs
    shards: int = 0
    """Shards of a provisioned Kinesis stream; 0: its present ones, or those of the settings."""

    def plan(self) -> tuple[StackPlan, list[str]]:
        """Return what `prepare` would change now, and what would follow once the delivery is proven."""
        now, steps = self._now(), self._steps()
        planned = plan_stack(self.table.clients, self._spec(prepared(now, self.settings), steps[0]))
        follows = [f"The stream's shards become {shards}" for shards in steps[1:]]
        if now is not None and now.used != self.settings.delivery:
            follows.append(f"Changes go by {self.settings.delivery!r} instead of {now.used!r}")
        if now is None or not now.reading:
            follows.append("The table's stream is read from its beginning")
        return planned, follows

    def prepare(self) -> StackOutputs:
        """Make the delivery of the settings; changes go on where they went, or wait in the table's stream.

        A stream's shards change as far as AWS allows at once, step by step. After a kill it goes on from there.
        """
        outputs: StackOutputs = {}
        for shards in self._steps():
            outputs = apply_stack(self.table.clients, self._spec(prepared(self._now(), self.settings), shards))
        return outputs

    def start(self, proven: str) -> StackOutputs:
        """Let changes go by the delivery of the settings.

        `proven` is what `check_delivery` returned for the proven streams. Raises `ConflictError` where they are
        different ones by now.
        """
        deliveries, name = started(self._now(), self.settings), self.table.names.table
        if check_delivery(self.table, self.settings.delivery) != proven:
            raise ConflictError(
                f"The delivery {self.settings.delivery!r} of table {name!r} was made again after its proof",
                action="run dynalake_setup again",
                table=name,
            )
        outputs = apply_stack(self.table.clients, self._spec(deliveries))
        self._enable(outputs["MappingId"])
        return outputs

    def remove_former(self, version: str) -> None:
        """Remove the delivery that no changes go to, which was found empty on this version of the stack.

        Raises `ConflictError` where the stack has another version by now: changes may have gone there again.
        """
        now = self._now()
        if now is not None and now.former is not None:
            apply_stack(self.table.clients, self._spec(replace(without_former(now), version=version)))

    def _now(self) -> Deliveries | None:
        return deployed(stack_state(self.table.clients, self.table.names.stack))

    def _steps(self) -> tuple[int, ...]:
        shards = self.shards or self.settings.shards
        return shard_steps(self.settings, read_stream(self.table), shards) if shards else (0,)

    def _spec(self, deliveries: Deliveries, shards: int = 0) -> StackSpec:
        names, settings = self.table.names, self.settings
        return table_spec(names, settings, self.source, self.storage, self.forwarder, deliveries, shards=shards)

    def _enable(self, mapping_id: str) -> None:
        """Enable a mapping that is disabled although its stack enables it: an unfinished teardown leaves it so."""
        state = self.table.clients.lambda_.get_event_source_mapping(UUID=mapping_id)["State"]
        if state == "Disabling":
            raise NotReadyError(f"The event source mapping {mapping_id} is {state}", table=self.table.names.table)
        if state == "Disabled":
            self.table.clients.lambda_.update_event_source_mapping(UUID=mapping_id, Enabled=True)
