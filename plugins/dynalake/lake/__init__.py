"""What readers see: the types of a table's attributes, its schema, and how both lie in files and catalogs.

Each group uses the ones above it. The names stand for modules.

types and columns
    types           the type of an attribute: the exact union over its values
    gather          types gathered from records, in bounded memory
    column, column_names, column_types   one column: its name, its attribute, its type
    admission, budget, pins              which attributes get a column: limits, and what the user says
    schema          the columns of a table, and how they grow
    layout, arrow, iceberg_schema        the same types in Glue and Trino, in Arrow, in Iceberg
    key_text        an item's key as one text

a table and its commits
    table           both Iceberg tables of a DynamoDB table, passed to all that works on them
    iceberg, file_io, metadata_note, objects, clock   load, create and commit by pyiceberg; S3 below it
    commit          a commit that is planned on one version and lands on another
    identity        which DynamoDB table it is about: one that was made again under its name is another
    make, repair, restore, optimizers    tables made, found, or brought back
    grow            new columns, before any file holds them

rows and files
    read, project   rows of files under the schema of the table
    sort, ranges, parts                  rows in order, cut into ranges, written as files of bounded size
    folders, raw_days                    `dt=D/v={uuid}/`: what each was made from, and what of a raw day is still due
    rewrite, workers, steps              files replaced by others with the same rows; who does the work, and what failed
    retype, retype_files, retyped_table  rows under another schema

the state and the views
    winners, state_schema, state         of all changes of an item the one that counts
    key_ranges      the state's files as ranges of keys
    fold, snapshot  changes up to a bound, or a backfill's snapshot, merged into the state
    views, view_entries                  the SQL of the views, and their entries in Glue

the night
    compact, compact_options, day        days that are over become one sorted folder
    widen_plan, widen                    columns able to hold what waits in `__other`
    hive, parquet_table, json_table, orc  Hive tables over the same files
    expire, references, collect          snapshots and files that nothing names go
    manifests, history, retention        manifests merged; old days, and old raw objects, dropped
    findings, scrub, scrub_tables        everything compared, once a week
"""
