"""What every task needs.

step            the decorators of tasks
session         clients by connection, parameters, and errors that Airflow understands
limits          time limits
mapped          mapped tasks
assets          asset events of commits
lineage         what tasks read and write, for OpenLineage
each_table      the same for each table, where a fault in one does not stop the others
run_note        the results of a run, as its note
note_text       that note's text
"""
