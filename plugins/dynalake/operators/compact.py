"""The tasks of `dynalake_compact`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import get_current_context, task

from dynalake.operators.session import clients, guarded, lake, parameters

if TYPE_CHECKING:
    from dynalake.compact.options import CompactOptions


def compact_options() -> CompactOptions:
    """What the run's parameters say of the conversion."""
    from dynalake.compact.options import CompactOptions

    asked = parameters()
    return CompactOptions(format=asked["format"], max_quarantined=asked["max_quarantined"])


def _now() -> datetime:
    """The run's time: the end of its data interval when it is scheduled, else when it was asked for."""
    run = get_current_context()["dag_run"]
    moment = run.data_interval_end or run.run_after
    return datetime.fromisoformat(str(moment))


@task
@guarded
def tables() -> list[str]:
    """The tables this run is about; their partitions of the coming days are registered."""
    from dynalake.capture.lake import find_lake, list_tables, load_settings
    from dynalake.catalog.partitions import register_days
    from dynalake.operators.days import coming_days

    asked = parameters()["tables"]
    found = clients()
    if not asked and find_lake(found, str(parameters()["environment"])) is None:
        print("There is no lake yet; dynalake_setup makes it with its first table")
        return []
    where = lake(found)
    if asked:
        chosen = [load_settings(found, where.table(name)).table for name in sorted(set(asked))]
    else:
        chosen = [settings.table for settings in list_tables(found, where)]
    for name in chosen:
        register_days(found, where.table(name), coming_days(where))
    return chosen


@task
@guarded
def plan(tables: list[str]) -> list[dict[str, Any]]:
    """Finds the partitions that are due."""
    from dynalake.compact.plan import plan_table

    found = clients()
    where = lake(found)
    due: list[dict[str, Any]] = []
    for name in tables:
        for partition in plan_table(found, where.table(name), compact_options(), _now(), days=parameters()["days"]):
            print(f"{name} dt={partition.day}: {partition.reason}, {partition.objects:,} objects")
            due.append(partition.to_dict())
    print(f"{len(due)} partitions of {len(tables)} tables are due")
    return due


@task(trigger_rule="none_failed")
@guarded
def plan_widened(tables: list[str], converted: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Older partitions whose files cannot be read any more with the types that this run brings; mostly none."""
    from dynalake.compact.manifest import ConvertedPartition
    from dynalake.compact.plan import PartitionPlan
    from dynalake.compact.widen import plan_reconversions

    found = clients()
    where = lake(found)
    done = [ConvertedPartition.from_dict(one) for one in converted]
    again: list[PartitionPlan] = []
    for name in tables:
        mine = [one for one in done if one.table == name]
        if mine:
            again += plan_reconversions(found, where.table(name), mine, compact_options())
    for partition in again:
        print(f"{partition.table} dt={partition.day} is converted again: a column's type became wider")
    return [partition.to_dict() for partition in again]


# What was converted is published even if another partition's conversion failed; `report` then fails the run.
@task(map_index_template="{{ table_label }}", trigger_rule="all_done")
@guarded
def publish(table: str, converted: Iterable[dict[str, Any]], widened: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Shows one table's conversions to readers: schema, partitions, views with the watermark."""
    from dynalake.compact.manifest import ConvertedPartition
    from dynalake.compact.publish import finish_table
    from dynalake.compact.supersede import delete_superseded

    get_current_context()["table_label"] = table  # type: ignore[typeddict-unknown-key]
    found = clients()
    done = [ConvertedPartition.from_dict(one) for one in [*converted, *widened] if one["table"] == table]
    names = lake(found).table(table)
    published = finish_table(found, names, done, compact_options(), _now())
    print(
        f"{table}: published {', '.join('dt=' + day for day in published.days) or 'nothing new'}; "
        f"{len(published.added)} new columns, {len(published.widened)} widened; "
        f"the views read Parquet through {published.through or 'no day yet'}"
        f"{' and for the snapshot' if published.snapshot else ''}"
    )
    deleted = delete_superseded(found, names, compact_options(), datetime.now(UTC))
    if deleted:
        print(f"{len(deleted):,} versions that nobody reads are deleted")
    return published.to_dict()


@task(trigger_rule="none_failed")
@guarded
def report(converted: Iterable[dict[str, Any]], widened: Iterable[dict[str, Any]]) -> dict[str, int]:
    """Adds the run's counts up. It does not run, and so the run fails, when one of the tasks before it failed."""
    done = [*converted, *widened]
    counted = ("objects", "lines", "rows", "duplicates", "canaries", "quarantined", "parts", "size")
    totals = {name: sum(one[name] for one in done) for name in counted}
    print(" | ".join(["table", "day", *counted]))
    for one in done:
        print(" | ".join([one["table"], one["day"], *(f"{one[name]:,}" for name in counted)]))
    return {"partitions": len(done), **totals}
