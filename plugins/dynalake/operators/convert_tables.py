"""The tasks of `dynalake_convert`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any

from airflow.sdk import Context, XComArg, get_current_context

from dynalake.errors import counted
from dynalake.operators.task import limits
from dynalake.operators.task.assets import COMMITS, emit
from dynalake.operators.task.each_table import check_faults, each_table, faults_of
from dynalake.operators.task.mapped import most_mapped
from dynalake.operators.task.note_text import name_tables
from dynalake.operators.task.session import (
    clients,
    conclude,
    guarded,
    lake,
    named_table,
    requested,
    say,
    table_list,
    tell,
)
from dynalake.operators.task.step import LABEL, gate, label, step
from dynalake.operators.waits.spark_run import SparkOperator, is_for_spark
from dynalake.options.engine import Engine
from dynalake.options.runs import ConvertOptions

if TYPE_CHECKING:
    from dynalake.convert.finish import Finished, Results
    from dynalake.convert.plan import Batch, ConvertLimits, TablePlan
    from dynalake.lake.catalog.table import Table
    from dynalake.names import TableNames

# Each uses up to about 1 GB of memory. The limit must be known when the DAG is parsed, not only when it runs.
MAX_ACTIVE_BATCHES = int(os.environ.get("DYNALAKE_MAX_ACTIVE_BATCHES", "4"))

ON_SPARK = 1000
"""Most batches of one table that Spark converts in one run: 250 GB of raw objects fit into the time of a run."""

_SENTENCES = "sentences"  # the XCom with the texts that `plan` leaves to `report`


@gate(execution_timeout=limits.PLAN, retries=1)
def plan() -> list[dict[str, Any]]:
    """Finds the raw objects without live rows. If there are none, no other task runs."""
    from dynalake.capture.lake.registry import read_settings
    from dynalake.convert.plan import ConvertLimits, check_landed
    from dynalake.lake.catalog.table import Table

    aws = clients()
    chosen = table_list(aws)
    if not chosen:
        return []
    where, days = lake(aws), _days()
    check_landed([Table(aws, where.table(name)) for name in chosen], days)
    settings = read_settings(aws, where)
    most = ConvertLimits() if requested(Engine).engine == "arrow" else ConvertLimits(batches=ON_SPARK)
    aws.make("s3", "glue", "dynamodb")
    planned = each_table(
        chosen, lambda name: _plan_table(Table(aws, where.table(name)), settings, days, most), "planned"
    )
    plans = [p for p in planned.values() if p is not None]
    large = [p for p in plans if p.batches and is_for_spark(partial(_count, p))]
    batches = _choose([p for p in plans if p not in large], most_mapped() - len(large))
    sentences = [f"{name} has no Iceberg table: run dynalake_setup for it." for name, p in planned.items() if p is None]
    sentences += chain.from_iterable(map(_sentences, plans))
    say(f"Due: {counted(len(batches), 'batch')} of {counted(len({b.table for b in batches}), 'table')}")
    sentences += [f"Converted on Spark: {counted(len(p.batches), 'batch')} of {p.table}." for p in large]
    if not batches and not large:
        conclude("Nothing to convert")
        tell("\n".join(sentences))
        check_faults(chain.from_iterable(faults_of(["plan"]).values()))
        return []
    for sentence in sentences:
        say(sentence)
    get_current_context()["ti"].xcom_push(_SENTENCES, sentences)
    counts = Counter(batch.table for batch in batches)
    return [*(_to_map(batch, alone=counts[batch.table] == 1) for batch in batches), *map(_to_spark, large)]


def convert_each(batches: XComArg) -> XComArg:
    """Return one mapped task for each batch, and one for all batches of a table that are converted on Spark."""
    tasks = ConvertBatch.partial(
        task_id="convert",
        map_index_template=LABEL,
        max_active_tis_per_dag=MAX_ACTIVE_BATCHES,
        execution_timeout=limits.BATCH,
        retries=1,
        outlets=[COMMITS],
    )
    return XComArg(tasks.expand(batch=batches))


class ConvertBatch(SparkOperator):
    """Converts one batch of raw objects to files, or all batches of a plan on Spark. Readers do not see them yet.

    A batch that is alone in its table's plan waits for no other one, so this task commits it too.
    """

    template_fields = ("batch",)
    longest_wait = limits.SPARK_BATCH

    def __init__(self, *, batch: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.batch = batch

    def dynamodb_table(self) -> str:
        return str(self.batch["table"])

    @guarded
    def execute(self, context: Context) -> dict[str, Any]:
        from dynalake.convert.batch import convert_or_wait
        from dynalake.convert.plan import find_batch_plan, read_batch_plan
        from dynalake.spark.request import CONVERT
        from dynalake.spark.work import conversion

        batch, table = self.batch, named_table(self.dynamodb_table())
        plan = str(batch["plan"])
        if "batches" in batch:
            label(f"{batch['table']} on Spark")
            self.defer_to_spark(table, CONVERT, conversion(plan, batch["batches"]))
        number = int(batch["number"])
        label(f"{batch['table']} dt={batch['day']} {number}")
        if batch["alone"]:
            planned = find_batch_plan(table, plan, number)  # None: an earlier try has committed it
            result = None if planned is None else convert_or_wait(table, planned)
            return {"committed": _commit(table, plan, {number: result})}
        result = convert_or_wait(table, read_batch_plan(table, plan, number))
        if result.waits:
            say(f"The batch is planned again in this run: {result.waits}")
        return _say_converted(batch, asdict(result.sums), result.rejected.reasons)

    def go_on(self, context: Context, names: TableNames, done: dict[str, Any]) -> dict[str, Any]:
        label(f"{names.table} on Spark")
        if done["late"]:
            say(f"{counted(done['late'], 'row')} of files with late changes went into the state first")
        return _say_converted(self.batch, done["sums"], done["reasons"])


def _say_converted(batch: dict[str, Any], sums: Mapping[str, int], reasons: Mapping[str, int]) -> dict[str, Any]:
    say(
        "{lines:,} lines of {objects:,} objects = {rows:,} rows + {duplicates:,} duplicates + {repeats:,} repeats of "
        "live rows + {canaries:,} canaries + {rejected:,} rejected".format(objects=batch["objects"], **sums)
    )
    for reason, count in sorted(reasons.items()):
        say(f"rejected: {count:,} × {reason}")
    return {"table": batch["table"], "rows": sums["rows"], "rejected": sums["rejected"]}


# Converted batches are committed even if another batch's conversion failed; `report` then fails the run.
@step(trigger_rule="all_done", execution_timeout=limits.GATHER)
def gather(batches: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    """Groups the batches by table: one commit task follows for each table that has more than one."""
    numbers: dict[tuple[str, str], list[int]] = {}
    for batch in batches or ():
        if batch["alone"]:
            continue
        added = range(batch["batches"]) if "batches" in batch else [batch["number"]]
        numbers.setdefault((batch["table"], batch["plan"]), []).extend(added)
    return [{"table": name, "plan": plan, "numbers": listed} for (name, plan), listed in numbers.items()]


@step(map_index_template=LABEL, execution_timeout=limits.COMMIT, outlets=[COMMITS])
def commit(work: dict[str, Any]) -> dict[str, Any]:
    """Commits one table's batches, after its late changes have reached the state."""
    from dynalake.convert.finish import read_results

    name = str(work["table"])
    label(name)
    table = named_table(name)
    return _commit(table, work["plan"], read_results(table, work["plan"], work["numbers"]))


def _commit(table: Table, plan: str, results: Results) -> dict[str, Any]:
    from dynalake.convert.finish import finish_table
    from dynalake.convert.plan import ConvertLimits

    done = finish_table(table, plan, results, ConvertLimits(), lambda: datetime.now(UTC))
    for line in _lines(done):
        say(line)
    emit(table, "commit", known=True)
    return done.to_dict()


@step(trigger_rule="all_done", execution_timeout=limits.GATHER)
def report(
    batches: list[dict[str, Any]] | None,
    work: list[dict[str, Any]] | None,
    converted: Iterable[dict[str, Any]],
    committed: Iterable[dict[str, Any]],
) -> dict[str, Any]:
    """Reports the result of the run, and fails if a table could not be planned, converted or committed."""
    from dynalake.convert.finish import Finished

    sentences = get_current_context()["ti"].xcom_pull(task_ids="plan", key=_SENTENCES) or ()
    alone = (values["committed"] for values in converted or () if "committed" in values)
    done = [Finished.from_dict(values) for values in [*alone, *(committed or ())]]
    committed_tables = {finished.table for finished in done}
    faults = [] if batches is not None and work is not None else ["the due objects could not be planned"]
    faults += chain.from_iterable(faults_of(["plan"]).values())
    tables = [w["table"] for w in work or ()] + [b["table"] for b in batches or () if b["alone"]]
    faults += [f"{name} could not be committed" for name in tables if name not in committed_tables]
    faults += [f"Not converted: {counted(len(f.failed), 'batch')} of {f.table}" for f in done if f.failed]
    if batches is not None:
        conclude(summary(done, faults))
        tell("\n".join([*sentences, *chain.from_iterable(map(_attention, done)), *faults]))
    check_faults(faults)
    return {"tables": len(done), "rows": sum(finished.sums.rows for finished in done)}


def summary(done: Sequence[Finished], faults: Sequence[str]) -> str:
    """Return the result of a run, in one line."""
    rows, objects = sum(finished.sums.rows for finished in done), sum(finished.objects for finished in done)
    parts = [f"{counted(rows, 'row')} of {counted(objects, 'raw object')}"]
    for kind, word in (("rejected", "rejected line"), ("repeats", "repeat"), ("duplicates", "duplicate")):
        if count := sum(getattr(finished.sums, kind) for finished in done):
            parts.append(counted(count, word))
    if waiting := sum(objects for finished in done for _, objects, _ in finished.waiting):
        parts.append(f"{counted(waiting, 'object')} left to the next run")
    if faults:
        parts.append(counted(len(faults), "fault"))
    return f"{name_tables([finished.table for finished in done]) or 'No table'} converted: {'; '.join(parts)}"


def _lines(done: Finished) -> list[str]:
    sums = done.sums
    return [
        f"{sums.lines:,} lines = {sums.rows:,} rows + {sums.duplicates:,} duplicates + {sums.repeats:,} repeats of "
        f"live rows + {sums.canaries:,} canaries + {sums.rejected:,} rejected; "
        f"{counted(done.batches, 'batch')} of {counted(done.objects, 'object')} in {counted(done.passes, 'commit')}",
        *([f"{counted(done.late, 'row')} of files with late changes went into the state first"] if done.late else []),
        *(f"rejected: {count:,} × {reason}" for reason, count in sorted(done.reasons.items())),
        *_attention(done),
    ]


def _attention(done: Finished) -> list[str]:
    """Return the notes on one table that may need attention."""
    lines = [f"{done.table}: {f.what}. What to do: {f.plan}." for f in done.findings]
    lines += [
        f"{done.table} dt={day}: {counted(objects, 'object')} left to the next run: {reason}."
        for day, objects, reason in done.waiting
    ]
    if done.misfits and all(f.kind != "schema-refused" for f in done.findings):
        from dynalake.errors import cut

        shown = ", ".join(map(cut, done.misfits[:10])) + (", …" if len(done.misfits) > 10 else "")
        lines.append(f"{done.table}: values that do not fit their columns yet are in __other: {shown}.")
    return lines


def _days() -> list[str]:
    """Return the days that the run's parameters name."""
    from dynalake.convert.plan import check_named

    return [check_named(day) for day in requested(ConvertOptions).days]


def _plan_table(
    table: Table, settings: Mapping[str, str], days: Sequence[str], most: ConvertLimits
) -> TablePlan | None:
    """Return a table's plan; None if it was never set up with Iceberg tables.

    `settings`: the texts of all tables' settings (`read_settings`).
    """
    from dynalake.capture.lake.registry import load_settings
    from dynalake.convert.plan import plan_table
    from dynalake.errors import CatalogError
    from dynalake.lake.catalog.metadata_note import noted_metadata
    from dynalake.lake.tables.identity import check_live_table
    from dynalake.options.settings import TableSettings

    text = settings.get(table.names.table)
    hours = (load_settings(table) if text is None else TableSettings.from_json(text)).stream_retention_hours
    try:
        planned = plan_table(table, most, datetime.now(UTC), days, retention_hours=hours)
        if planned.batches:
            # A template may replace a table while the same pipeline reads the new one.
            check_live_table(table, planned.table_id)
        return planned
    except CatalogError:
        if noted_metadata(table, table.names.changes_table) is None:
            return None
        raise


def _sentences(planned: TablePlan) -> list[str]:
    sentences = []
    if planned.changed:
        sentences.append(
            f"{planned.table}: {counted(len(planned.changed), 'raw object')} changed after the conversion, first "
            f"{planned.changed[0]}. Their new changes are converted; to replace rows, name the day."
        )
    if planned.beyond:
        sentences.append(f"{planned.table}: {counted(planned.beyond, 'more object')} left to the next run.")
    return sentences


def _choose(plans: Sequence[TablePlan], most: int) -> list[Batch]:
    """Return the batches of this run, from each table in turn, up to Airflow's limit. The next run gets the rest."""
    from dynalake.convert.plan import ConvertLimits
    from dynalake.errors import SettingsError

    named = [batch for planned in plans for batch in planned.batches if batch.again]
    if len(named) > most:
        raise SettingsError(
            f"The named days have {counted(len(named), 'batch')} of raw objects",
            allowed=f"{most:,} in one run: Airflow maps no more tasks (core.max_map_length)",
            action="name fewer days or tables in each run",
        )
    fresh = ([batch for batch in planned.batches if not batch.again] for planned in plans)
    turns = zip_longest(*(batches[: ConvertLimits().batches] for batches in fresh))
    others = [batch for turn in turns for batch in turn if batch is not None]
    return [*named, *others[: most - len(named)]]


def _to_map(batch: Batch, *, alone: bool) -> dict[str, Any]:
    values = {name: getattr(batch, name) for name in ("table", "plan", "number", "day")}
    return {**values, "objects": len(batch.inputs), "size": batch.size, "alone": alone}


def _to_spark(planned: TablePlan) -> dict[str, Any]:
    batches = planned.batches
    counts = {"objects": sum(len(b.inputs) for b in batches), "size": _count(planned)}
    return {"table": planned.table, "plan": batches[0].plan, "batches": len(batches), "alone": False, **counts}


def _count(planned: TablePlan) -> int:
    return sum(b.size for b in planned.batches)
