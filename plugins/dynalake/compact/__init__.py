"""Compaction: raw JSON becomes deduplicated, sorted, typed Parquet, and readers see it in one step.

plan → convert (read, type, deduplicate, sort, write, check) → publish
"""
