"""Reports a mistake in DYNALAKE_LAKES in Airflow's list of import errors. This file has no DAG.

The files of the DAGs leave out a lake whose entry is wrong, so that the other lakes keep their DAGs.
"""

from __future__ import annotations

from dynalake.options.lakes import check_entries

check_entries()
