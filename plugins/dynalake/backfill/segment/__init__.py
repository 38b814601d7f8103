"""One segment of a run.

segment         the whole of it
parts           its files
checkpoint      its progress
objects         the objects of a run
"""
