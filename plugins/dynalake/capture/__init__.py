"""Capture: the source's stream, the stacks that carry its changes, and the proof that they arrive.

lake            what is set up, as SSM holds it
source, bucket  the DynamoDB table and the lake's bucket, checked
readers         who reads the table's stream already
options         whether a setup may change the lake's options
specs           what each stack is to be
package         the forwarder's code
change_sets, stacks, stack_failures  CloudFormation: planned, deployed, explained
verify          the proof: a canary comes out in the raw zone
draining        moving a table to the other delivery
alarms          those on streams that nobody reads, silent while nobody is to read them
hand_off        the time from which on the stream has every change
failed, redrive, replay              what failed on its way, and its replay
teardown, stored                     the end, and what the bucket holds
"""
