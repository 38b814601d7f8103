"""The certificate of equality: every item of the DynamoDB table, compared with `{t}_current`.

canonical       an item as one text, the same from DynamoDB and from the lake, and its digest
versions        the lake's versions of items, and which of them it has shown since a moment
key_shares      digests by key, on disk, so that any number of items fits into memory
certification   the state between the tasks: how much was compared, and what is in doubt
compare         the first comparison: every item of an export or a scan, every row of the lake
doubts          items that differed: read again, and compared with the lake as it is later
certificate     the result, kept as JSON in S3, for the run's note and the page
"""
