"""The table with today's rows: `{t}_state`, and the views on it.

winners         of all changes of an item the one that counts
state_schema, state                  the state's columns; changes merged into it
key_ranges      the state's files as ranges of keys
fold, snapshot  changes up to a bound, or a backfill's snapshot, merged into the state
past_folds      the folds that were made
views, view_entries                  the SQL of the views, and their entries in Glue
"""
