"""What a run has seen, as Markdown for an issue and as JSON; neither names the account."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from infra.conformance.experiment import FAILED, Outcome
from infra.conformance.lake import Life
from infra.conformance.scrub import Scrubber

NOT_ASKED = (
    "Whether CloudWatch bills a mapping's EventCount metrics as custom ones: only a bill says so.",
    "Whether a key of the customer's own changes an answer: it costs a dollar a month, and takes a week to delete.",
)


def contents(place: str, region: str, outcomes: Sequence[Outcome], life: Life, left: Sequence[str]) -> dict[str, Any]:
    """All of a report, as JSON can hold it. `place`: `AWS` or `local AWS`; `left`: what could not be removed."""
    experiments = [
        {
            **{k: v for k, v in asdict(outcome.experiment).items() if k != "run"},
            "answer": outcome.answer,
            "as_local": outcome.as_local,
            "detail": outcome.detail,
            "seconds": round(outcome.seconds, 1),
        }
        for outcome in outcomes
    ]
    return {
        "asked": place,
        "region": region,
        "experiments": experiments,
        "table": [asdict(step) for step in life.steps],
        "sql": [asdict(compared) for compared in life.compared],
        "not_asked": list(NOT_ASKED),
        "not_removed": list(left),
    }


def write(folder: Path, found: dict[str, Any], scrubber: Scrubber) -> tuple[Path, Path]:
    """Write both files, scrubbed; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    clean = scrubber.tree(found)
    paths = folder / "report.md", folder / "report.json"
    paths[0].write_text(markdown(clean), encoding="utf-8")
    paths[1].write_text(json.dumps(clean, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return paths


def markdown(found: dict[str, Any]) -> str:
    """The report for people: first what differs from local AWS, or failed."""
    lines = [f"# Conformance: {found['asked']}, {found['region']}", ""]
    lines += ["| experiment | answer | local AWS | detail |", "|---|---|---|---|"]
    for one in sorted(found["experiments"], key=lambda one: (one["answer"] != FAILED, one["as_local"])):
        mark = "✗ " if one["answer"] == FAILED else "" if one["as_local"] else "≠ "
        lines.append(
            f"| {mark}{one['name']} | {_cell(one['answer'])} | {_cell(one['local'])} | {_cell(one['detail'])} |"
        )
    lines += ["", "## A table, from setup to teardown", "", "| step | state | seconds | detail |", "|---|---|---|---|"]
    for step in found["table"]:
        lines.append(f"| {step['name']} | {step['state']} | {step['seconds']:.0f} | {_cell(step['detail'])} |")
    lines += ["", "## Read by SQL", "", "| table | asked | rows | values | differences |", "|---|---|---|---|---|"]
    for one in found["sql"]:
        lines.append(
            f"| {one['table']} | {one['engine']} | {one['rows']} | {one['values']} | {one['difference_count']} |"
        )
    lines += ["", *(f"- {one['table']}: {_cell(str(d))}" for one in found["sql"] for d in one["differences"])]
    lines += ["", "## The questions", ""]
    for one in found["experiments"]:
        said = f"AWS: {one['documented']} <{one['page']}> It matters for: {one['matters']}"
        lines.append(f"- **{one['name']}**: {one['asks']} {said}")
    lines += ["", "Not asked:", "", *(f"- {text}" for text in found["not_asked"])]
    if found["not_removed"]:
        lines += ["", "Not removed:", "", *(f"- {text}" for text in found["not_removed"])]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
