"""Engines that read the lake on local AWS, with rows that compare with `==`: Trino 483, and DuckDB with its extensions.

A row is a dict by column name. Structs and maps are dicts, lists are lists, and a decimal is a `Decimal` with all its
digits. The modules take the variables that point an AWS SDK at local AWS (`LocalAws.env()`). The product imports none
of them. Spark and pyiceberg, which only tests use, are in `tests/trino`.
"""
