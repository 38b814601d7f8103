"""Hive tables on the same files, for engines without Iceberg.

hive            tables and partitions, by awswrangler
parquet_table, json_table, orc       `{t}_parquet`, `{t}_json` and `{t}_orc`
"""
