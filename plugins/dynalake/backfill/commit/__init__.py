"""The end of a run.

ledger          the counts, which must add up
commit          the sums are checked, and changes shown
snapshot        which backfill is the snapshot
replaced        older ones are deleted
"""
