"""Raw objects as typed columns: the exact reader in Python, and the compiled one, which gives the same and is fast.

raw             raw objects, line by line, every digit kept
quarantine      lines that are not change records
records, exact  the exact reader: record by record
compiled        the compiled reader
growth          how the columns grow in the meantime
placing         what has no place in its column goes to `__other`
raw_batch       a batch, by the reader that is fastest
"""
