"""The form of `dynalake_teardown`."""

from __future__ import annotations

from airflow.sdk import Param

from dynalake.operators.parameters.which import RUN, table_parameter, where_parameters


def teardown_parameters() -> dict[str, Param]:
    return {
        **table_parameter(),
        "delete_data": Param(
            "",
            type="string",
            title="Delete the data too",
            description_md="Type the exact name of the table to delete its data in the lake as well: every version of "
            "its objects, and its Glue tables and views. Empty: the data stays and can be queried.",
            section=RUN,
        ),
        "wait_for_delivery": Param(
            True,
            type="boolean",
            title="Wait for delivery",
            description_md="Removes the pipeline only after everything under way in it has arrived. Turn it off for a "
            "pipeline that can no longer deliver.",
            section=RUN,
        ),
        "rest_seconds": Param(
            0,
            type="integer",
            minimum=0,
            maximum=86_400,
            title="Rest before the last canaries (seconds)",
            description_md="How long nothing may move in the pipeline before it counts as at rest. 0: the forwarder's "
            "timeout, plus **buffer_seconds**, plus four minutes for late metrics.",
            section=RUN,
        ),
        **where_parameters(),
    }
