"""The conversion of `compact` on Apache Spark, for partitions beyond one worker: the same rows, types and manifest.

Spark distributes, sorts and repeats what fails; every line is read, typed and written by the code of `compact`.
"""
