"""The form of `dynalake_watch`."""

from __future__ import annotations

from airflow.sdk import Param

from dynalake.operators.parameters.which import RUN, tables_parameter, where_parameters


def watch_parameters() -> dict[str, Param]:
    return {
        **tables_parameter(),
        "freshness_minutes": Param(
            0,
            type="integer",
            minimum=0,
            title="Freshness target (minutes)",
            description_md="A table whose changes take longer than this is late. "
            "0: its setting **freshness_alarm_minutes**.",
            section=RUN,
        ),
        "expiring_hours": Param(
            12,
            type="integer",
            minimum=1,
            maximum=23,
            title="Longest wait in the stream (hours)",
            description_md="A table whose changes have waited for longer in its stream is **expiring**: the stream "
            "drops them after 24 hours.",
            section=RUN,
        ),
        "conversion_minutes": Param(
            60,
            type="integer",
            minimum=1,
            title="Longest wait for conversion (minutes)",
            description_md="A table with raw objects that have waited for longer is late.",
            section=RUN,
        ),
        "waiting_hours": Param(
            26,
            type="integer",
            minimum=1,
            title="Longest wait for compaction (hours)",
            description_md="A table needs attention when a day, or the fold of its state, has waited for longer.",
            section=RUN,
        ),
        "compared_items": Param(
            20,
            type="integer",
            minimum=0,
            maximum=100,
            title="Items to compare",
            description_md="Items per table and run, out of those that changed last, that are read from DynamoDB "
            "(strongly consistent) and compared with the lake. 0: none.",
            section=RUN,
        ),
        "repaired": Param(
            False,
            type="boolean",
            title="Lost changes are repaired",
            description_md="A table that lost changes stays **lost** until you confirm here that they are restored.",
            section=RUN,
        ),
        **where_parameters(),
    }
