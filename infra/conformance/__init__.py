"""`make conformance`: check on an AWS account what local AWS and dynalake assume.

| module | purpose |
|---|---|
| `run` | the command: its announcement and confirmation, the order of everything, the exit code |
| `place` | the account, region and environment; stacks with the run's tag; sessions with fewer rights; waits |
| `base` | the buckets and roles that experiments share, and the resources that several of them use |
| `experiment` | an experiment: its question, AWS's page, local AWS's answer, and what depends on the answer |
| `permissions`, `delivery`, `mappings`, `tables` | the experiments |
| `lake`, `dags` | the life of a table, by the DAGs themselves in a process without an Airflow server |
| `sql` | read the lake's tables with Athena, or with DuckDB on local AWS, which has no Athena |
| `report`, `scrub` | the results, as Markdown and JSON that name no account |
| `leftovers` | find the resources of runs by their tag, and remove them |
"""
