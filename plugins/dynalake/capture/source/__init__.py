"""The DynamoDB table that is captured.

choose          the tables that a run names by a pattern or a tag
source          the table and its stream, checked
readers         who reads the stream already
"""
