"""Stage 7, watch: how fresh, how late and how right the lake is, for the DAG and the page.

readings        what was read about one table
metrics         CloudWatch: the forwarder and the delivery
landed          the raw objects that came last
tables          the two Iceberg tables
seen_schema     their columns, since when, and what does not fit any of them
month           what a month costs
reconcile       some of the items that changed last, compared with DynamoDB
gather          all of that, by a bounded number of calls
judge           what is wrong, how bad that is, and what to do
history         how fresh it was in the last 24 hours and seven days
status          all of it, kept as JSON for the page
alerts          what has changed since the last message to the lake's topic
"""
