"""What tests of several folders use. A test module imports from here or from a module of its folder, never from a test.

| module | |
|---|---|
| `machine` | the repository's path; programs that a machine may lack |
| `examples` | the documents' examples, and which test runs each |
| `waiting` | waiting for an expected result |
| `sweep` | the share of every sweep that a session plays |
| `kills` | runs that are killed, or disturbed, before any of their calls |
| `memory/aws` | S3 and Glue in memory, with a clock that only the test moves |
| `memory/flat_lake` | a lake in memory with a few flat columns |
| `memory/receipts` | a lake in memory with real schemas: items become rows, and are read back as values |
| `memory/checks` | what must be true of that lake at any moment: rows, views, partitions |
| `memory/state_lake` | a lake in memory with the state and the views, read by DuckDB |
| `memory/convert_lake` | a lake in memory with raw objects, converted by whole runs |
| `memory/steps` | several concurrent runs in memory, one call at a time, with kills and lost answers |
| `strict_glue` | a Glue on moto that refuses stale versions, and loses, delays and throttles answers |
| `other_workers` | workers that behave like Spark's |
| `values/items`, `values/json_values` | hypothesis strategies: items of DynamoDB, and the values of their JSON |
| `values/recover` | values of SQL engines and Arrow, converted back |
| `aws/connect`, `aws/real` | clients of local AWS; what tests of local AWS need on an account |
| `aws/lake`, `aws/capture_steps` | the DAGs' steps on local AWS: the lake's, and the pipeline's |
| `aws/iam_run` | runs of the DAGs' steps under enforced policies |
| `airflow/dag_bag` | the DAGs as Airflow loads them, and fixtures that run them |
| `airflow/small_lake` | a lake that needs no pipeline, for runs of DAGs |
"""
