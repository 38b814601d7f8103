"""The writes of a table, the shards that they need, and the cost.

usage           what the table wrote in the last 14 days, minute by minute, from its own CloudWatch metrics
shards          how many shards the Kinesis stream needs, and by which steps it gets there
limits          what AWS allows the account and the stream, asked before anything is changed
prices          AWS's list prices, from `prices.json`
requests        the requests of a conversion to S3 and Glue
cost            the dollars a month of each delivery
quote           all of it in a run's note
"""
