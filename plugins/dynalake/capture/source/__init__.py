"""The DynamoDB table that is captured.

source          the table and its stream, checked
readers         who reads the stream already
"""
