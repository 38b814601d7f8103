"""Backfill: the data that was there before the capture began, read once into `dt=00000000/{run}/`.

what a run does
    state, objects  what a run remembers in S3
    source, recovery, windows            the table that is read, point-in-time recovery, windows of an import
    asked, run      the run's parameters, and its plan
    quote, estimate  what it would take
    filter          which items are kept

reading
    ledger, checkpoint, parts, segment   counts, progress, files and the whole of one segment
    pace, share, scan                    a parallel scan, within its capacity
    export, manifest, convert            an export: requested, checked, read
    incremental, numbers, vanished       an import of a window after an outage

the end
    commit          sums checked, changes shown
    snapshot, replaced                   which backfill is the snapshot; older ones are deleted
"""
