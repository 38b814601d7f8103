"""Work that is too big for an Airflow worker, as a job on Apache Spark: the same routines, in parts on executors.

request         a job's request, as its arguments; its answer, as an object in the lake
package         dynalake's code as Spark loads it
glue            a run of the lake's AWS Glue job: started once for any number of requests
job             the script: reads the request, runs the work, writes the answer
work            a conversion, a night or a backfill's snapshot, by the code that workers run
executors       parts of the work on Spark's executors
"""
