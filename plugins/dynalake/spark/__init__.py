"""What is too big for an Airflow worker, as a job on Apache Spark: the same routines, whose parts executors do.

request   what a job is asked, as its arguments; what it answers, as an object in the lake
glue      a run of the lake's AWS Glue job: started once, however often it is asked for
package   dynalake's code as Spark takes it
job       the script: reads the request, runs the work, writes the answer
work      conversion and compaction, by the code that workers run
executors parts of work on Spark's executors
"""
