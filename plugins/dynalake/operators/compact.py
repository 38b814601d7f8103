"""The tasks of `dynalake_compact`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import get_current_context, task

from dynalake.operators import limits
from dynalake.operators.each_table import check_faults, each_table, faults_of
from dynalake.operators.mapped import most_mapped
from dynalake.operators.session import clients, guarded, lake, parameters, run_id, say, table_list, tell

if TYPE_CHECKING:
    from dynalake.compact.manifest import ConvertedPartition
    from dynalake.convert.options import CompactOptions
    from dynalake.names import Lake

_AGAIN = {
    "widened": "a column's type became wider",
    "repeats": "it may repeat changes of an earlier day that is converted by this run",
}


def compact_options() -> CompactOptions:
    """What the run's parameters say of the conversion."""
    from dynalake.convert.options import CompactOptions

    asked = parameters()
    names = ("format", "codec", "part_mb", "sort_by", "max_quarantined")
    return CompactOptions.from_dict({name: asked[name] for name in names})


def _now() -> datetime:
    """The run's time: the end of its data interval when it is scheduled, else when it was asked for.

    Never later than now: Airflow starts a run of any date at once, and one of next year must not close today.
    """
    run = get_current_context()["dag_run"]
    moment = run.data_interval_end or run.run_after
    return min(datetime.fromisoformat(str(moment)), datetime.now(UTC))


def _days(where: Lake) -> tuple[list[str], str]:
    """The days that the run names, none: what is due; and whether they are converted again though nothing changed.

    A run of `airflow backfill` is about one day, the last that was closed at its logical date, and converts it again.
    """
    from dynalake.compact.plan import last_closed
    from dynalake.days import check_day
    from dynalake.errors import SettingsError

    if get_current_context()["dag_run"].run_type == "backfill":
        return [last_closed(_now(), compact_options().closed_after_hours, where.zone)], run_id()
    days, force = parameters()["days"], parameters()["force"]
    if force and not days:
        raise SettingsError("force is set, and days is empty", allowed="days to convert again", action="name them")
    return [check_day(day) for day in days], run_id() if force else ""


@task
@guarded
def tables() -> list[str]:
    """The tables this run is about; their partitions of the coming days are registered."""
    from dynalake.catalog.partitions import register_days
    from dynalake.operators.days import coming_days

    found = clients()
    chosen = table_list(found)
    if not chosen:
        return []
    where = lake(found)
    each_table(chosen, lambda name: register_days(found, where.table(name), coming_days(where)), "registered")
    return chosen


@task
@guarded
def plan(tables: list[str]) -> list[dict[str, Any]]:
    """Finds the partitions that are due; of very many the oldest, and the next run takes the others."""
    from dynalake.compact.plan import choose_oldest, plan_table
    from dynalake.errors import SettingsError

    if not tables:
        return []
    found = clients()
    where = lake(found)
    days, force = _days(where)
    options, now, broken = compact_options(), _now(), faults_of(["tables"])
    planned = each_table(
        [name for name in tables if name not in broken],
        lambda name: plan_table(found, where.table(name), options, now, days=days, force=force),
        "planned",
    )
    due = [partition for partitions in planned.values() for partition in partitions]
    for partition in due:
        say(f"{partition.table} dt={partition.day}: {partition.reason}, {partition.objects:,} objects")
    say(f"{len(due):,} partitions of {len(tables):,} tables are due")
    chosen = choose_oldest(due, most_mapped())
    if len(chosen) < len(due):
        if force:
            raise SettingsError(
                f"{len(due):,} partitions are to be converted again",
                allowed=f"{len(chosen):,} in one run: Airflow maps no more tasks",
                action="name fewer days or tables in each run",
            )
        note = (
            f"{len(due):,} partitions are due. This run converts the {len(chosen):,} oldest, to dt={chosen[-1].day}; "
            "trigger the DAG again with the same parameters for the others, or leave them to the next run."
        )
        tell(note)
    return [partition.to_dict() for partition in chosen]


# A conversion that fails does not keep the other tables from theirs.
@task(trigger_rule="all_done")
@guarded
def plan_widened(tables: list[str] | None, converted: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Days that have to be converted again because of what this run brings; mostly none."""
    from dynalake.compact.widen import plan_reconversions

    if not tables:
        return []
    found = clients()
    where = lake(found)
    options = compact_options()
    converted_of = {name: mine for name, mine in _by_table(tables, converted).items() if mine}
    planned = each_table(
        converted_of,
        lambda name: plan_reconversions(found, where.table(name), converted_of[name], options),
        "planned again",
    )
    again = [partition for partitions in planned.values() for partition in partitions]
    for partition in again:
        say(f"{partition.table} dt={partition.day} is converted again: {_AGAIN[partition.reason]}")
    # What is beyond that is converted where it is published.
    return [partition.to_dict() for partition in again[: most_mapped()]]


def _by_table(tables: list[str], *rounds: Iterable[dict[str, Any]]) -> dict[str, list[ConvertedPartition]]:
    from dynalake.compact.manifest import ConvertedPartition

    found: dict[str, list[ConvertedPartition]] = {name: [] for name in tables}
    for one in (one for converted in rounds for one in converted):
        found[one["table"]].append(ConvertedPartition.from_dict(one))
    return found


# What was converted is published even if another partition's conversion failed; `report` then fails the run.
@task(trigger_rule="all_done")
@guarded
def gather(
    tables: list[str] | None, converted: Iterable[dict[str, Any]], widened: Iterable[dict[str, Any]]
) -> list[dict[str, Any]]:
    """What each table has to publish: asked of Airflow once, not by every table's task."""
    found = _by_table(tables or [], converted, widened)
    faults = faults_of(["tables", "plan", "widen.plan_widened"])
    return [
        {"table": name, "converted": [one.to_dict() for one in mine], "faults": faults.get(name, [])}
        for name, mine in found.items()
    ]


@task(map_index_template="{{ table_label }}", execution_timeout=limits.CONVERSION)
@guarded
def publish(work: dict[str, Any]) -> dict[str, Any]:
    """Shows one table's conversions to readers: schema, partitions, views with the watermark.

    Fails at once where the tasks before it could not do something for this table. What they did, the next run finds.
    """
    from dynalake.backfill.supersede import delete_runs
    from dynalake.capture.lake import raw_retention_days
    from dynalake.compact.manifest import ConvertedPartition
    from dynalake.compact.publish import finish_table
    from dynalake.compact.retain import delete_raw
    from dynalake.compact.supersede import delete_superseded

    table = str(work["table"])
    get_current_context()["table_label"] = table  # type: ignore[typeddict-unknown-key]
    check_faults(work["faults"])
    found = clients()
    done = [ConvertedPartition.from_dict(one) for one in work["converted"]]
    names = lake(found).table(table)
    published = finish_table(found, names, done, compact_options(), _now())
    say(
        f"{table}: published {', '.join('dt=' + day for day in published.days) or 'nothing new'}; "
        f"{len(published.added)} new columns, {len(published.widened)} widened; "
        f"the views read Parquet through {published.through or 'no day yet'}"
        f"{' and for the snapshot' if published.snapshot else ''}"
    )
    deleted = delete_superseded(found, names, compact_options(), datetime.now(UTC))
    if deleted:
        say(f"{len(deleted):,} versions that nobody reads are deleted")
    left = delete_runs(found, names, compact_options().superseded_after_hours, datetime.now(UTC))
    if left:
        say(f"Backfills that are no longer the snapshot, or came to nothing, are deleted: {', '.join(left)}")
    retired = delete_raw(found, names, compact_options(), raw_retention_days(found, names.lake), datetime.now(UTC))
    if retired:
        say(f"The raw objects of dt={', dt='.join(retired)} are deleted: their Parquet has been checked")
    return published.to_dict()


@task(trigger_rule="none_failed")
@guarded
def report(converted: Iterable[dict[str, Any]], widened: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Adds the run's counts up. It does not run, and so the run fails, when one of the tasks before it failed."""
    from collections import Counter

    done = [*converted, *widened]
    counted = ("objects", "lines", "rows", "duplicates", "repeats", "canaries", "quarantined", "parts", "size")
    totals = {name: sum(one[name] for one in done) for name in counted}
    say(" | ".join(["table", "day", *counted]))
    reasons: Counter[str] = Counter()
    for one in done:
        reasons.update(one["reasons"])
        say(" | ".join([one["table"], one["day"], *(f"{one[name]:,}" for name in counted)]))
    for reason, count in reasons.most_common():
        say(f"quarantined: {count:,} × {reason}")
    if reasons:
        listed = ", ".join(f"{count:,} × {reason}" for reason, count in reasons.most_common())
        note = f"{totals['quarantined']:,} of {totals['lines']:,} lines are in quarantine: {listed}"
        tell(note)
    return {"partitions": len(done), **totals, "reasons": dict(reasons)}
