"""Stage 7, watch: how fresh, how late and how right the lake is, for the DAG and the page.

readings        what was read about one table
metrics         CloudWatch: the forwarder and the delivery
landed          the raw objects that came last
tables          the two Iceberg tables
reconcile       some of the items that changed last, compared with DynamoDB
gather          all of that, by a bounded number of calls
judge           what is wrong, how bad that is, and what to do
status          both, kept as JSON for the page
alerts          what has changed since the last message to the lake's topic
"""
