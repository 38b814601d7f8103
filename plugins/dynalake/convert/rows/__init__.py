"""Rows on their way from the readers to files: made to fit, sorted, each once, written.

words           the memory that values take
place           where a value goes: into its column, or into `__other`
misfits         what went into `__other`, counted
fit             rows read under an earlier guess of the types
runs, sort      rows in order of key and sequence number: columns, or records
"""
