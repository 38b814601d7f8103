"""Backfill: the data that was there before the capture began, read once into `dt=00000000/{run}/`.

Each package uses the ones above it.

source          the DynamoDB table that is read, and its capacity
plan            what a run reads, decided once for every retry
segment         one segment: its files, its progress
scan            a parallel scan
export          an export, or an import of a window after an outage
commit          the end: sums checked, the snapshot replaced
"""
