"""Conversion: raw JSON becomes typed, sorted Parquet in which each change stands once.

options         how raw objects are read
read            lines become columns
rows            rows are placed, deduplicated and sorted
named, plan     what is converted already, and what is due: batches of raw objects
batch           one batch becomes the files of new folders
row_day, once   the day of a row; rows that stand somewhere already are found
rest            a day that is converted again keeps the rows whose raw objects are gone
commit          one commit for all batches of a table
finish          the end of a run: what its tasks made is committed
snapshot        the objects of a backfill become the snapshot
"""
