"""The tasks of `dynalake_redrive`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from airflow.sdk import get_current_context

from dynalake.errors import counted
from dynalake.operators.task.mapped import most_mapped
from dynalake.operators.task.session import conclude, parameters, requested, run_id, run_table, say, tell
from dynalake.operators.task.step import LABEL, label, step
from dynalake.options.runs import RedriveOptions

SHOWN_FAILURES = 20


@step
def list_failed() -> list[int]:
    """Lists what failed, by stage and reason, and returns the chunks to replay; a dry run has none."""
    from dynalake.capture.failed.redrive import plan_redrive, save_plan

    options = requested(RedriveOptions)
    table = run_table()
    plan = plan_redrive(table, options.batches)
    failed = f"{counted(plan.batches, 'failed batch')} with {counted(plan.changes, 'change')}"
    if plan.failures:
        say(plan.table())
    else:
        conclude("nothing to redrive: nothing has failed")
    say(f"{failed}, in {counted(len(plan.chunks), 'chunk')}")
    failures = [failure.to_dict() for failure in plan.failures[:SHOWN_FAILURES]]
    get_current_context()["ti"].xcom_push("failures", failures)
    if options.dry_run:
        if plan.failures:
            conclude(f"{failed}, only listed")
            tell("\n".join(f"{f.stage}: {f.changes:,} × {f.reason}" for f in plan.failures[:SHOWN_FAILURES]))
        for chunk in plan.chunks:
            for key in chunk.keys:
                say(f"{chunk.stage} | {key}")
        return []
    save_plan(table, run_id(), plan)
    chunks = min(len(plan.chunks), most_mapped())
    if chunks < len(plan.chunks):
        tell(f"This run replays {chunks:,} of {len(plan.chunks):,} chunks. Trigger the DAG again for the others.")
    return list(range(chunks))


@step(map_index_template=LABEL)
def replay(chunk: int) -> dict[str, Any]:
    """Sends one chunk's changes through the forwarder again, and marks those that pass as done."""
    from dynalake.capture.failed.redrive import load_plan
    from dynalake.capture.failed.replay import replay_chunk

    table = run_table()
    planned = load_plan(table, run_id()).chunks[chunk]
    label(planned.label)
    done = replay_chunk(table, run_id(), planned)
    say(
        f"Stored and marked done: {counted(done.done, 'batch')} with {counted(done.changes, 'change')}; done before: "
        f"{done.gone:,}; rejected of them: {counted(done.put_aside, 'change')}; cannot pass: "
        f"{counted(len(done.rejected), 'batch')}"
    )
    for key, reason in done.rejected.items():
        say(f"{key}: {reason}")
    return done.to_dict()


@step(trigger_rule="none_failed")
def report(replayed: Iterable[dict[str, Any]]) -> dict[str, int]:
    """Adds up what was replayed; fails the run if something still cannot pass, and says why."""
    from dynalake.capture.failed.replay import check_replayed

    done = list(replayed)
    counts = ("done", "changes", "gone", "put_aside", "still")
    totals = {name: sum(chunk[name] for chunk in done) for name in counts}
    say(" | ".join(["chunk", "batches done", "changes", "done before", "rejected", "cannot pass"]))
    for chunk in done:
        say(" | ".join([chunk["label"], *(f"{chunk[name]:,}" for name in counts)]))
    if done:
        conclude(f"{counted(totals['changes'], 'change')} of {counted(totals['done'], 'failed batch')} stored")
        check_replayed(str(parameters()["table"]), done)
    return totals
