"""A preview of a night says what the night then does, and writes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from dynalake.lake.working.steps import Fault
from dynalake.night import preview as module
from dynalake.night.night import Requests, work
from dynalake.night.preview import preview
from tests.support.memory.receipts import DAY_1, DAY_2, Receipts
from tests.unit.night.one_table import SETTINGS, TODAY

pytestmark = pytest.mark.slow


def lines_of(lake: Receipts, requests: Requests | None = None) -> str:
    lines: list[str] = []
    assert preview(lake.table, SETTINGS, lake.now, lines.append, requests) == ()
    return "\n".join(lines)


def versions(lake: Receipts) -> Any:
    """Every object and every version of the tables."""
    store = lake.table.store
    locations = (lake.table.changes().metadata_location, lake.table.items().metadata_location)
    return {(o.key, o.etag, o.modified) for o in store.list("")}, locations


def test_it_says_what_the_night_then_does_and_writes_nothing(lake: Receipts) -> None:
    before = versions(lake)
    said = lines_of(lake)
    assert versions(lake) == before
    assert f"Compact dt={DAY_1} (closed): 2 files, " in said
    assert f"Compact dt={DAY_2} (closed): 1 file, " in said
    assert TODAY not in said
    assert "Widen columns: n\n" in said
    assert "Fold about " in said
    assert "Compare everything" in said

    assert work(lake.table, SETTINGS, lake.now, lambda _: None) == ()
    assert "Compact" not in (after := lines_of(lake))
    assert "Widen" not in after
    assert "Fold" not in after
    assert "Compare" not in after
    assert "Delete another night: " in after or after == "Nothing is due"


def test_requests_are_planned_too(lake: Receipts) -> None:
    work(lake.table, SETTINGS, lake.now, lambda _: None)
    lake.append(TODAY, {"id": "d"})
    lake.clock.move(seconds=3600)
    said = lines_of(lake, requests=Requests((TODAY,), fold=True, scrub=True))
    assert f"Compact dt={TODAY} (named): 2 files" in said
    assert "the state, requested" in said
    assert "Compare everything" in said


def test_a_step_that_cannot_be_planned_stops_no_other(lake: Receipts, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no plan")

    monkeypatch.setattr(module, "plan_types", broken)
    lines: list[str] = []
    faults = preview(lake.table, SETTINGS, lake.now, lines.append)
    assert faults == (Fault("types", "RuntimeError: no plan", False),)
    assert any(line.startswith("Compact") for line in lines)
    assert any(line.startswith("Compare") for line in lines)
