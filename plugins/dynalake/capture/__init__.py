"""Capture: the source's stream, the stacks that carry its changes, and the proof that they arrive.

source          the DynamoDB table, and who reads its stream
stacks          CloudFormation: what each stack is to be; planned, deployed, explained
lake            what is set up, and the lake's bucket and options
proof           whether resources work, changes arrive, nothing moves any more
failed          what failed on its way, and its replay
table_stack     a table's stack: made, started, moved to the other delivery
teardown, stored                     the end, and what the bucket holds
"""
