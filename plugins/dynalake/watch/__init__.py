"""Stage 7, watch: how fresh, how late and how right the lake is; what the DAG judges and the page shows.

gather     one table now, by a bounded number of calls, from
metrics      CloudWatch: the forwarder and the delivery
landed       the raw objects that came last
reconcile    some of the items that changed last, compared with DynamoDB
tables       the two Iceberg tables
readings   what was read
judge      what is wrong with it, how bad that is, and what to do
status     both, kept as JSON, from where the page reads it
"""
