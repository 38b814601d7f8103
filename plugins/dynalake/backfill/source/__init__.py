"""The DynamoDB table that a backfill reads.

source          the table: its key, capacity and stream
recovery        what follows from point-in-time recovery
pace            reading within its capacity
"""
