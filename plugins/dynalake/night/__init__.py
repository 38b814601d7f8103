"""A table's night: everything that is too long for the conversion every few minutes.

night           the night's steps, which do not stop each other
preview         what they would do
compact         days that are over become one sorted folder each, and columns wide enough for their values
"""
