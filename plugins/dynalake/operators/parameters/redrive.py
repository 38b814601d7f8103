"""The form of `dynalake_redrive`."""

from __future__ import annotations

from airflow.sdk import Param

from dynalake.operators.parameters.which import RUN, table_parameter, where_parameters


def redrive_parameters() -> dict[str, Param]:
    return {
        **table_parameter(),
        "dry_run": Param(
            False,
            type="boolean",
            title="Only list",
            description_md="Lists what failed, by reason and with its keys, and stops.",
            section=RUN,
        ),
        "batches": Param(
            [],
            type="array",
            items={"type": "string"},
            title="Batches",
            description_md='Keys of failed batches as "Only list" shows them, or prefixes that end in "/", one per '
            "line. Empty: all batches of the table.",
            examples=["dynamodb-errors/forwarder/RECEIPTS/dt=20190525/"],
            section=RUN,
        ),
        **where_parameters(),
    }
