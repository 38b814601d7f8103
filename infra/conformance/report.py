"""The results of a run, as Markdown for an issue and as JSON; neither names the account."""

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
    "Whether CloudWatch bills a mapping's EventCount metrics as custom metrics: only a bill shows this.",
    "Whether a customer-managed key changes an answer: it costs a dollar a month and takes a week to delete.",
)


def contents(place: str, region: str, outcomes: Sequence[Outcome], life: Life, left: Sequence[str]) -> dict[str, Any]:
    """Return a report as JSON values. `place`: `AWS` or `local AWS`; `left`: resources that could not be removed."""
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
    """Write both files, scrubbed; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    clean = scrubber.tree(found)
    paths = folder / "report.md", folder / "report.json"
    paths[0].write_text(markdown(clean), encoding="utf-8")
    paths[1].write_text(json.dumps(clean, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return paths


def markdown(found: dict[str, Any]) -> str:
    """Return the report as Markdown; failures and differences from local AWS come first."""
    lines = [f"# Conformance: {found['asked']}, {found['region']}", ""]
    lines += ["| experiment | answer | local AWS | detail |", "|---|---|---|---|"]
    for e in sorted(found["experiments"], key=lambda e: (e["answer"] != FAILED, e["as_local"])):
        mark = "✗ " if e["answer"] == FAILED else "" if e["as_local"] else "≠ "
        lines.append(f"| {mark}{e['name']} | {_cell(e['answer'])} | {_cell(e['local'])} | {_cell(e['detail'])} |")
    lines += ["", "## A table, from setup to teardown", "", "| step | state | seconds | detail |", "|---|---|---|---|"]
    for step in found["table"]:
        lines.append(f"| {step['name']} | {step['state']} | {step['seconds']:.0f} | {_cell(step['detail'])} |")
    lines += ["", "## Read with SQL", "", "| table | engine | rows | values | differences |", "|---|---|---|---|---|"]
    for c in found["sql"]:
        lines.append(f"| {c['table']} | {c['engine']} | {c['rows']} | {c['values']} | {c['difference_count']} |")
    lines += ["", *(f"- {c['table']}: {_cell(str(d))}" for c in found["sql"] for d in c["differences"])]
    lines += ["", "## The questions", ""]
    for e in found["experiments"]:
        documented = f"AWS: {e['documented']} <{e['page']}> It matters for: {e['matters']}"
        lines.append(f"- **{e['name']}**: {e['asks']} {documented}")
    lines += ["", "Not asked:", "", *(f"- {text}" for text in found["not_asked"])]
    if found["not_removed"]:
        lines += ["", "Not removed:", "", *(f"- {text}" for text in found["not_removed"])]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
