"""A parallel scan.

scan            one segment, scanned
share           its share of the table's capacity
"""
