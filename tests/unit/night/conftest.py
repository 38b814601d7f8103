"""A lake for which every step of a night has work. No commit pauses before it tries again."""

from __future__ import annotations

import pytest

from tests.support.memory.receipts import Receipts
from tests.unit.night.one_table import prepared


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynalake.lake.catalog.commit.time.sleep", lambda _: None)


@pytest.fixture
def lake() -> Receipts:
    return prepared()
