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
            description_md="Type the table's name, letter by letter, to delete its data in the lake as well: every "
            "version of its objects, and its Glue tables and views. Empty: the data stays and can be queried.",
            section=RUN,
        ),
        "wait_for_delivery": Param(
            True,
            type="boolean",
            title="Wait for delivery",
            description_md="Remove the pipeline only when what is under way in it has arrived. Turn it off for a "
            "pipeline that cannot deliver any more.",
            section=RUN,
        ),
        "rest_seconds": Param(
            0,
            type="integer",
            minimum=0,
            maximum=86_400,
            title="Rest before the last canaries (seconds)",
            description_md="For how long nothing may have moved in the pipeline before it counts as at rest. 0: the "
            "forwarder's timeout, `buffer_seconds` and four minutes, since what ends says so late.",
            section=RUN,
        ),
        **where_parameters(),
    }
