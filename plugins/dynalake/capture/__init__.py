"""Capture: the source's stream, the stacks that carry its changes, and the proof that they arrive.

lake            what is set up, as SSM holds it
source, bucket  the DynamoDB table and the lake's bucket, checked
readers         who reads the table's stream already
options         whether a setup may change the lake's options
specs           what each stack is to be
package         the forwarder's code
change_sets, stacks, stack_failures  CloudFormation: planned, deployed, explained
table_stack, deliveries  a table's stack: made, started, moved to the other delivery
verify          whether its resources work, as their services say
canaries        the proof: a canary of every shard comes out in the raw zone
quiet, left     whether nothing moves any more; a delivery that was left
alarms          those on streams that nobody reads, silent while nobody is to read them
hand_off        the time from which on the stream has every change
failed, redrive, replay              what failed on its way, and its replay
teardown, stored                     the end, and what the bucket holds
"""
