"""The lake `prod` of the documents' examples, with contents for which each statement finds something."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from dynalake.aws.clients import Clients
from dynalake.names import Lake
from dynalake.record.key import ItemKey, KeyAttribute
from tests.trino.view_lake import Event, ViewLake

FOLDED_TO = 1558785600000
"""The time in the statements of `docs/query.md`."""

BY_ID = ItemKey(KeyAttribute("id", "S"))
BY_DEVICE = ItemKey(KeyAttribute("device '{{ x }}", "S"), KeyAttribute("at", "N"))
"""Names that SQL, YAML and dbt's Jinja would take for their own."""


class DocsLake(ViewLake):
    """RECEIPTS, with changes before and after its fold."""

    def fill(self) -> None:
        image = {
            "total": Decimal("12.5"),
            "customer": {"name": "a"},
            "lines": [{"article": "x", "price": 150}, {"article": "y", "price": 1}],
            "tags": ["t"],
            "photo": "AQI=",
            "__types": {"/photo": "B"},
        }
        before = [Event(n, FOLDED_TO - 1000 + n, "INSERT", {"id": f"{40 + n}", **image}) for n in range(1, 6)]
        self.put([*before, Event(6, FOLDED_TO - 10, "REMOVE", {"id": "45", **image})], self.day(self.start))
        self.convert()
        self.fold(FOLDED_TO)
        after = [
            Event(7, FOLDED_TO + 1, "MODIFY", {"id": "41", **image, "total": "n/a"}),
            Event(8, FOLDED_TO + 2, "REMOVE", {"id": "43"}),
            Event(9, FOLDED_TO + 3, "INSERT", {"id": "50", **image}),
        ]
        self.put(after, self.day(self.start))
        self.convert()

    @property
    def database(self) -> str:
        return self.names.lake.database


class Readings(ViewLake):
    """Sensor.Readings, whose last change is of now, and whose key has a number that does not fit its column yet."""

    def fill(self) -> None:
        now, device = round(self.now.timestamp() * 1000), self.key.partition.name
        ats = [1, 2, Decimal("1.5"), Decimal("1E+100")]
        self.put(Event(n, now - 10 + n, "INSERT", {device: "d", "at": at, "Value": n}) for n, at in enumerate(ats, 1))
        self.convert()


def set_up_lake(lake: Lake, clients: Clients, athena: Any) -> None:
    """Leave what the storage's stack leaves: the lake's place, and its Athena workgroup."""
    clients.ssm.put_parameter(Name=lake.lake_parameter, Value=json.dumps({"bucket": lake.bucket}), Type="String")
    place = f"s3://{lake.bucket}/athena-results/"
    configuration = {"EnforceWorkGroupConfiguration": True, "ResultConfiguration": {"OutputLocation": place}}
    athena.create_work_group(Name=lake.workgroup, Configuration=configuration)
