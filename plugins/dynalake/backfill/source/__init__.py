"""The DynamoDB table that a backfill reads.

source          the table: its key, capacity and stream
recovery        point-in-time recovery
pace            reading within its capacity
"""
