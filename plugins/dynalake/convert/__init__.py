"""Conversion: raw JSON becomes typed, sorted Parquet in which each change appears once.

options         how raw objects are read
read            lines become columns
rows            rows are placed, deduplicated and sorted
named, plan     the converted raw objects, and the due ones in batches
batch           one batch becomes the files of new folders
row_day, once   the day of a row; rows that are live already are found
rest            a day that is converted again keeps the rows whose raw objects are gone
commit          one commit for all batches of a table
finish          the end of a run: its tasks' results are committed
snapshot        the objects of a backfill become the snapshot
"""
