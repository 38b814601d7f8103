"""What keeps the lake small, and proves that it is whole.

expire, collect  snapshots and files that nothing names are deleted
history, retention                   old days, and old raw objects, are dropped
scrub, scrub_tables                  everything is compared, once a week
"""
