"""Files and their rows.

folders         `dt=D/v={uuid}/` and its manifest: the raw objects that its rows were made from
raw_days        raw objects, and which of a day are still due
references      the files that a table or a partition still names
read, project   rows of files under the schema of the table
sort, ranges, parts                  rows in order, cut into ranges, written as files of bounded size
rewrite         files replaced by others with the same rows
"""
