"""A table for which every step of a night has work."""

from __future__ import annotations

from decimal import Decimal

from dynalake.options.settings import TableSettings
from tests.support.memory.receipts import DAY_1, DAY_2, Receipts

TODAY = "20240101"
SETTINGS = TableSettings(table="RECEIPTS")


def prepared() -> Receipts:
    lake = Receipts()
    lake.append(DAY_1, {"id": "a", "n": 1}, {"id": "b", "l": []})
    lake.append(DAY_1, {"id": "b", "l": ["x"]})
    lake.append(DAY_2, {"id": "a", "n": Decimal("1.5")})
    lake.append(TODAY, {"id": "c"})
    lake.put_items({"id": "a", "n": Decimal("1.5")})
    return lake
