"""The types of attributes.

union           the type of an attribute: the exact union over its values
budget          limits on columns, depth and sizes
layout, arrow   the same types in Glue and Trino, and in Arrow
key_text        an item's key as one text
"""
