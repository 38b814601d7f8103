"""The DynamoDB table that is captured: what it is, and whether it can be captured as it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from dynalake.aws.clients import Clients
from dynalake.aws.dynamodb import POLL_SECONDS, WAIT_SECONDS, describe_table, find_recovery, turn_on_recovery
from dynalake.errors import NotReadyError, SourceError
from dynalake.record.key import ItemKey

VIEW_TYPES = ("NEW_IMAGE", "NEW_AND_OLD_IMAGES")
"""View types of a stream whose changes each carry the whole item."""


@dataclass(frozen=True)
class Source:
    """A table that can be captured."""

    table: str
    arn: str
    id: str
    """Id of this table. A table that is deleted and made again has another."""
    stream_arn: str
    view_type: str
    key: ItemKey
    pitr: bool
    """Whether point-in-time recovery is on, which an export needs."""
    billing: str
    """`PROVISIONED` or `PAY_PER_REQUEST`."""
    item_count: int
    """DynamoDB's last count: it counts about every six hours."""
    size_bytes: int
    replicas: tuple[str, ...] = ()
    """The other regions of a global table."""

    @property
    def partition(self) -> str:
        """`aws`, or its replacement in ARNs of China and of the US government's regions."""
        return self.arn.split(":")[1]

    def to_dict(self) -> dict[str, Any]:
        """Return the dict for XCom and JSON."""
        return {**asdict(self), "key": self.key.to_dict()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Source:
        """Return the source from what `to_dict` returned."""
        return cls(**{**values, "key": ItemKey.from_dict(values["key"]), "replicas": tuple(values["replicas"])})


def check_source(
    clients: Clients,
    table: str,
    *,
    enable_stream: bool = False,
    enable_pitr: bool = False,
    sleep: Callable[[float], None] = time.sleep,
) -> Source:
    """Return the table, if it can be captured; with `enable_stream` and `enable_pitr` turn on what is off.

    Raises `SourceError` where the table is missing, not active, or its stream is off or has a view type without the new
    image; `NotReadyError` where it is still being made, or AWS takes too long to turn something on.
    """
    description: Mapping[str, Any] = describe_table(clients, table)
    if description["TableStatus"] in ("CREATING", "UPDATING"):
        # An update ends by itself, and everything that is needed here can be read in the meantime.
        description = _wait_until_active(clients, table, sleep)
    _check_active(table, description)
    problem = stream_problem(table, description)
    if problem is not None:
        if not enable_stream or _stream(description)["StreamEnabled"]:
            raise problem
        description = _enable_stream(clients, table, sleep)
    recovery = find_recovery(clients, table)
    if recovery is None and enable_pitr:
        recovery = turn_on_recovery(clients, table, sleep)
    return source_of(description, pitr=recovery is not None)


def source_of(description: Mapping[str, Any], *, pitr: bool) -> Source:
    """Return a `Source` from `DescribeTable`'s answer (its `Table` member)."""
    return Source(
        table=description["TableName"],
        arn=description["TableArn"],
        id=description["TableId"],
        stream_arn=description["LatestStreamArn"],
        view_type=_stream(description)["StreamViewType"],
        key=ItemKey.of(description),
        pitr=pitr,
        # Absent for a table that never was on demand.
        billing=description.get("BillingModeSummary", {}).get("BillingMode", "PROVISIONED"),
        item_count=description.get("ItemCount", 0),
        size_bytes=description.get("TableSizeBytes", 0),
        replicas=tuple(sorted(replica["RegionName"] for replica in description.get("Replicas", ()))),
    )


def stream_problem(table: str, description: Mapping[str, Any]) -> SourceError | None:
    """Return why the table's stream cannot be captured; None where it can."""
    stream = _stream(description)
    update = f"aws dynamodb update-table --table-name {table} --stream-specification"
    on = f"{update} StreamEnabled=true,StreamViewType=NEW_AND_OLD_IMAGES"
    allowed = "a stream with the view type NEW_AND_OLD_IMAGES, or NEW_IMAGE"
    if not stream["StreamEnabled"]:
        return SourceError(
            f"The stream of table {table!r} is off",
            allowed=allowed,
            action=f"trigger the DAG again with enable_stream=true, or run: {on}",
            table=table,
        )
    if stream["StreamViewType"] not in VIEW_TYPES:
        return SourceError(
            f"The stream of table {table!r} has the view type {stream['StreamViewType']}",
            allowed=allowed,
            action=(
                "turn the stream off and on again, since its view type cannot be changed (point its other readers to "
                f"the new stream): {update} StreamEnabled=false, and once the table is ACTIVE again: {on}"
            ),
            table=table,
        )
    return None


def _check_active(table: str, description: Mapping[str, Any]) -> None:
    if description["TableStatus"] != "ACTIVE":
        raise SourceError(
            f"Table {table!r} is {description['TableStatus']}",
            allowed="a table that is ACTIVE",
            action="wait until it is, or choose another table",
            table=table,
        )


def _stream(description: Mapping[str, Any]) -> dict[str, Any]:
    return {"StreamEnabled": False, "StreamViewType": "", **description.get("StreamSpecification", {})}


def _enable_stream(clients: Clients, table: str, sleep: Callable[[float], None]) -> Mapping[str, Any]:
    clients.dynamodb.update_table(
        TableName=table,
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )
    return _wait_until_active(clients, table, sleep, with_stream=True)


def _wait_until_active(
    clients: Clients, table: str, sleep: Callable[[float], None], *, with_stream: bool = False
) -> Mapping[str, Any]:
    waited = 0.0
    while True:
        description = describe_table(clients, table)
        ready = not with_stream or (_stream(description)["StreamEnabled"] and description.get("LatestStreamArn"))
        if description["TableStatus"] not in ("CREATING", "UPDATING") and ready:
            return description
        if waited >= WAIT_SECONDS:
            raise NotReadyError(
                f"Table {table!r} is still {description['TableStatus']} after {waited:.0f} seconds", table=table
            )
        sleep(POLL_SECONDS)
        waited += POLL_SECONDS
