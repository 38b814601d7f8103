"""Conversion: raw JSON becomes typed, sorted Parquet in which each change stands once.

read (lines → columns) → rows (deduplicate, sort, write)
"""
