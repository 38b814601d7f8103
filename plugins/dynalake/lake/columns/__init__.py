"""The columns of a table, and how they grow.

schema          the columns of a table
column, column_names, column_types   one column: its name, its attribute, its type
admission, pins                      which attributes get a column: limits, and what the user says
gather          types gathered from records, in bounded memory
iceberg_schema  the schema as Iceberg has it
retype          rows under another schema
"""
