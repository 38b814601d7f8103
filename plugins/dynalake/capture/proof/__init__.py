"""The proof that a pipeline works.

verify          whether its resources work, as their services say
quiet           whether nothing moves any more
canaries        a canary of every shard comes out in the raw zone
hand_off        the time from which on the stream has every change
former          a former delivery
alarms          alarms on streams that nobody reads, silent while nobody is to read them
"""
