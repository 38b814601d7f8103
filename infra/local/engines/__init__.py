"""The engines that read the lake, each on local AWS, with rows that compare with `==`.

| module | engine | input |
|---|---|---|
| `trino.py` | Trino 483 | SQL over Hive tables, Iceberg tables and views |
| `spark.py` | Spark 3.5 with Iceberg's runtime | SQL over the Iceberg tables, as `lake.database.table` |
| `duckdb.py` | DuckDB with its extensions httpfs, avro and iceberg | SQL over `iceberg_scan(metadata location)` |
| `pyiceberg.py` | pyiceberg's own `GlueCatalog` | a table's name and a filter |

A row is a dict by column name. Structs and maps are dicts, lists are lists, and a decimal is a `Decimal` with all its
digits. The modules take the variables that point an AWS SDK at local AWS (`LocalAws.env()`). The product imports none
of them.
"""
