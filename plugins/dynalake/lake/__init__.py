"""What readers see: two Iceberg tables for each DynamoDB table, the views on them, and Hive tables on the same files.

Each package uses the ones above it.

types           the type of an attribute, the limits of types, and how they are stored
columns         the columns of a table: names, types, limits, how they grow
working         who does the work, and what failed
catalog         load and commit tables by pyiceberg
files           files and their rows: listed, read, sorted, cut, written, replaced
current         the state, one row for each item, and the views
tables          tables made, found, or brought back
compaction      a day becomes one sorted folder; columns become wider
hive            Hive tables on the same files
upkeep          garbage collection, retention, and the weekly scrub
"""
