"""Athena: the registered partitions with the catalog's types, queried in Trino's SQL.

https://docs.aws.amazon.com/athena/latest/APIReference/API_StartQueryExecution.html; ministack keeps
workgroups, named queries and the rest of the API.
"""

from __future__ import annotations

from ministack.services import athena

from infra.local.corrections.athena import execution, workgroups


def install() -> None:
    """Replace how ministack runs queries and answers with their results."""
    athena._start_query_execution = execution.start
    athena._get_query_results = execution.get_results
    athena._stop_query_execution = execution.stop
    athena._get_workgroup = workgroups.completed(athena._get_workgroup)
