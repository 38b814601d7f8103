"""The options of one run of the other DAGs."""

from __future__ import annotations

from dataclasses import dataclass

from dynalake.options.backfill import METHODS
from dynalake.options.option import Options, dry_run_option, option


@dataclass(frozen=True)
class SetupOptions(Options):
    """What a run of `dynalake_setup` may do, besides the table's settings and the lake's options."""

    backfill: str = option(
        "auto",
        "Backfill",
        "How to bring in the items that the table already has, once the pipeline works. `export`: by DynamoDB's export "
        "to S3, which needs point-in-time recovery. `scan`: by reading the table. `auto`: export if point-in-time "
        "recovery is on, otherwise scan. `none`: later, by triggering dynalake_backfill.",
        choices=(*METHODS, "none"),
    )
    enable_stream: bool = option(
        False,
        "Turn on the stream",
        "If the table has no stream, turns it on with both images (`NEW_AND_OLD_IMAGES`). This changes your table.",
    )
    enable_pitr: bool = option(
        False,
        "Turn on point-in-time recovery",
        "Turns on point-in-time recovery if it is off. It costs per GB and month.",
    )
    update_settings: bool = option(
        False,
        "Change existing settings and options",
        "Changes settings of the table, and options of the lake, that are already set up. Without it, a run with "
        "different values stops and says which. Settings of the table that the run does not name get their defaults.",
    )
    catalog_only: bool = option(
        False,
        "Restore the catalog only",
        "For a copy of a lake's bucket: makes the database, the tables and the views from what the bucket has, and no "
        "pipeline. It needs no DynamoDB table. The data can be queried, and no run changes it.",
        section="Recovery",
    )
    dry_run: bool = dry_run_option("Shows what CloudFormation would change and what the table will cost, and stops.")


@dataclass(frozen=True)
class ConvertOptions(Options):
    """What a run of `dynalake_convert` converts."""

    days: tuple[str, ...] = option(
        (),
        "Convert these days again",
        "`YYYYMMDD` in the lake's time zone, one per line: reads all raw objects of these days again. Their rows "
        "replace rows of the same changes in that day; rows that are in no raw object any more stay. Empty: only what "
        "has landed since.",
    )


@dataclass(frozen=True)
class NightOptions(Options):
    """What a run of `dynalake_compact` does, even if it is not due."""

    days: tuple[str, ...] = option(
        (),
        "Compact these days now",
        "`YYYYMMDD` in the lake's time zone, or `00000000` for the snapshot, one per line, even while a day is open. "
        "Empty: every day that is over and is not one sorted folder yet.",
    )
    fold: bool = option(
        False,
        "Fold now",
        "Folds all changes into `{t}_state`, up to the newest one, even if that is not due.",
    )
    scrub: bool = option(
        False,
        "Compare everything now",
        "Compares raw objects, files, manifests, partitions and rows of all days, which otherwise happens once a week.",
    )
    allow_schema_changes: bool = option(
        False,
        "Allow schema changes once",
        "For tables whose setting `schema_changes` is `refuse`: gives columns, fields and wider types to all that "
        "waits in `__other`, within `widen_budget_gb`. Afterwards the columns stay as they are again.",
    )
    dry_run: bool = dry_run_option(
        "Shows which days, types and changes the run would write again, and what it would delete. Writes nothing."
    )


@dataclass(frozen=True)
class RedriveOptions(Options):
    """What a run of `dynalake_redrive` replays."""

    dry_run: bool = dry_run_option("Lists what failed, by reason and with its keys, and stops.")
    batches: tuple[str, ...] = option(
        (),
        "Batches",
        "Keys of failed batches as a dry run lists them, or prefixes that end in `/`, one per line. Empty: all batches "
        "of the table.",
    )


@dataclass(frozen=True)
class WatchOptions(Options):
    """The targets of a run of `dynalake_watch`."""

    freshness_minutes: int = option(
        0,
        "Freshness target (minutes)",
        "A table whose changes take longer than this is late. 0: its setting `freshness_alarm_minutes`.",
        minimum=0,
    )
    expiring_hours: int = option(
        12,
        "Longest wait in the stream (hours)",
        "A table whose changes have waited for longer in its stream is `expiring`: the stream drops them after 24 "
        "hours.",
        minimum=1,
        maximum=23,
    )
    conversion_minutes: int = option(
        60,
        "Longest wait for conversion (minutes)",
        "A table with raw objects that have waited for longer is late.",
        minimum=1,
    )
    waiting_hours: int = option(
        26,
        "Longest wait for compaction (hours)",
        "A table needs attention when a day, or the fold of its state, has waited for longer.",
        minimum=1,
    )
    compared_items: int = option(
        20,
        "Items to compare",
        "Items per table and run, out of those that changed last, that are read from DynamoDB (strongly consistent) "
        "and compared with the lake. 0: none.",
        minimum=0,
        maximum=100,
    )
    repaired: bool = option(
        False,
        "Lost changes are repaired",
        "A table that lost changes stays `lost` until a run confirms that they are restored; name the table "
        "in `tables`.",
    )


@dataclass(frozen=True)
class CertifyOptions(Options):
    """How a run of `dynalake_certify` reads the tables."""

    method: str = option(
        "auto",
        "Method",
        "`export`: DynamoDB exports each table to S3, which costs about $0.10 per GB, puts no load on the table, and "
        "needs point-in-time recovery. `scan`: reads each table within its limit, which uses read capacity. `auto`: "
        "export if point-in-time recovery is on, otherwise scan. The run's note says what each table cost.",
        choices=METHODS,
    )
    max_read_capacity: int = option(
        200,
        "Maximum read capacity (units per second)",
        "The limit for a scan, and for items that are read again, per table and as DynamoDB counts read units: 200 are "
        "about 1.6 MB per second. 0: as fast as the table answers.",
        minimum=0,
    )


@dataclass(frozen=True)
class TeardownOptions(Options):
    """What a run of `dynalake_teardown` waits for, and deletes."""

    delete_data: str = option(
        "",
        "Delete the data too",
        "Type the exact name of the table to delete its data in the lake as well: every version of its objects, and "
        "its Glue tables and views. Empty: the data stays and can be queried.",
    )
    wait_for_delivery: bool = option(
        True,
        "Wait for delivery",
        "Removes the pipeline only after everything under way in it has arrived. Turn it off for a pipeline that can "
        "no longer deliver.",
    )
    rest_seconds: int = option(
        0,
        "Rest before the last canaries (seconds)",
        "How long nothing may move in the pipeline before it counts as at rest. 0: the forwarder's timeout, plus "
        "`buffer_seconds`, plus four minutes for late metrics.",
        minimum=0,
        maximum=86_400,
    )
    dry_run: bool = dry_run_option(
        "Shows the stack, the Glue tables, the objects and their bytes that would go, and stops. Changes nothing."
    )
