"""The CloudFormation stacks.

deliveries      a table's two deliveries: through Kinesis, or directly
package         the forwarder's code
specs           what each stack is to be
change_sets, stacks, stack_failures  planned, deployed, explained
"""
