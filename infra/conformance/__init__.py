"""`make conformance`: what local AWS and dynalake take for granted, asked of an AWS account.

| module | what it is for |
|---|---|
| `run` | the command: what it makes and costs, the confirmation, everything in its order, the exit code |
| `place` | the account, region and environment; stacks with the run's tag; sessions with fewer rights; waiting |
| `base` | what the experiments share: buckets and roles, and the resources that several are made of |
| `experiment` | an experiment: its question, AWS's page, local AWS's answer, and what depends on it |
| `permissions`, `delivery`, `mappings`, `tables` | the experiments |
| `lake`, `dags` | a whole table, by the DAGs themselves in a process without an Airflow server |
| `sql` | the lake's tables read by Athena; on local AWS, which has none, by DuckDB |
| `report`, `scrub` | what was seen, as Markdown and JSON that name no account |
| `leftovers` | finds what runs have made by its tag, and removes it |
"""
