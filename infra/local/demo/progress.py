"""The demo's output while Airflow works: one line for each task when it ends."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from infra.local.run.airflow import AirflowClient

ENDED = {"success", "failed", "upstream_failed", "skipped", "removed"}


class DemoFailed(Exception):
    """The demo failed; the message says why."""


class Screen:
    """Prints lines with the seconds since the start, and on a terminal a status line that is updated in place."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._live = sys.stdout.isatty()
        self._width = 0

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    def title(self, text: str) -> None:
        self.line("")
        self.line(text)

    def line(self, text: str) -> None:
        """Print a line that stays."""
        stamp = f"{self.seconds:6.1f}s  " if text else ""
        if self._live and self._width:
            print("\r" + " " * self._width + "\r", end="")
            self._width = 0
        print(f"{stamp}{text}", flush=True)

    def status(self, text: str) -> None:
        """Show the current activity in place on a terminal; print nothing to a file."""
        if self._live:
            text = f"{self.seconds:6.1f}s  {text}"[:118]
            print("\r" + text.ljust(self._width), end="", flush=True)
            self._width = len(text)


def follow(
    airflow: AirflowClient,
    screen: Screen,
    dag: str,
    run: str,
    *,
    timeout: float = 600,
    meanwhile: Callable[[], str] = lambda: "",
) -> None:
    """Show a run until it ends. Raises `DemoFailed`, with the failed task's log if there is one."""
    shown: set[tuple[str, int]] = set()
    deadline = time.monotonic() + timeout
    while True:
        state = airflow.run_state(dag, run)
        tasks = airflow.tasks(dag, run)
        for task in sorted(tasks, key=lambda task: str(task["end_date"])):
            name = (task["task_id"], task["map_index"])
            if task["state"] in ENDED and name not in shown:
                shown.add(name)
                screen.line(_task_line(task))
        running = sorted({task["task_id"] for task in tasks if task["state"] in {"running", "up_for_reschedule"}})
        screen.status(f"{dag}: {', '.join(running) or 'scheduling'} … {meanwhile()}")
        if state == "success":
            return
        if state == "failed":
            raise DemoFailed(_why(airflow, dag, run, tasks))
        if time.monotonic() > deadline:
            raise DemoFailed(f"{dag} did not end within {timeout:.0f} s; it was still at {', '.join(running) or state}")
        time.sleep(0.4)


def _task_line(task: dict[str, Any]) -> str:
    mark = {"success": "✓", "skipped": "–"}.get(task["state"], "✗")
    label = task.get("rendered_map_index") or ("" if task["map_index"] < 0 else str(task["map_index"]))
    duration = f"{task['duration']:.1f}s" if task.get("duration") else ""
    return f"  {mark} {task['task_id'].replace('.', ' › '):<38} {label:<34} {duration:>6}"


def _why(airflow: AirflowClient, dag: str, run: str, tasks: list[dict[str, Any]]) -> str:
    for task in tasks:
        if task["state"] == "failed":
            log = airflow.log(dag, run, task["task_id"], task["try_number"], task["map_index"])
            return f"{dag} failed in {task['task_id']}:\n\n{log[-4000:]}"
    return f"{dag} failed"
