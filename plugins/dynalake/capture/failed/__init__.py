"""What failed on its way.

failed          the failed records and batches, as they lie in the bucket
redrive         what is to be replayed
replay          the replay
"""
