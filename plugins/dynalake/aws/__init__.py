"""The only way to AWS.

answers         what AWS answered when a call failed
clients         boto3's clients, made once
refusals        what AWS refuses, explained: who, what, and what to grant
cloudwatch      metrics, read in one way
s3              the objects of a bucket
dynamodb        the table that is captured and read
"""
