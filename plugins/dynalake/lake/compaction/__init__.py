"""Parquet to Parquet: a day in one sorted folder, and columns wide enough for what waits in `__other`.

compact_options  how files are compacted
day             a day that is over becomes one sorted folder
widen_plan, widen                    columns become able to hold what waits in `__other`
retype_files, retyped_table          files, and a whole table, under other types
"""
