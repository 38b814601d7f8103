"""The user's decisions, each described once: its default, limits, title and description.

settings        of a table
lake_options    of a lake
"""
