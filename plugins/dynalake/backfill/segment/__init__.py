"""One segment of a run.

segment         the whole of it
parts           its files
checkpoint      its progress
"""
