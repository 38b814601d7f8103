"""Tables and their commits, by pyiceberg through Glue.

table           both Iceberg tables of a DynamoDB table, passed to all functions that work on them
iceberg         loads, creates and commits tables: the only user of what pyiceberg does not promise
file_io, manifests                   S3 below it; manifests read, replaced and merged
commit          a commit that is planned on one version and lands on another
commit_events   what commits mean to those who read the tables
metadata_note   the latest metadata, noted next to the catalog
clock           the time as the tables have it
"""
