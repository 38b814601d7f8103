"""The script that AWS Glue or EMR Serverless runs: one table's conversion, night or snapshot, with all executors.

spark-submit --py-files dynalake.zip spark-job.py --region eu-west-1 --environment prod --table RECEIPTS --work compact
"""

from __future__ import annotations

import sys

from pyspark.sql import SparkSession

from dynalake.aws.clients import Clients
from dynalake.aws.refusals import explain
from dynalake.capture.lake.registry import load_lake
from dynalake.lake.catalog.table import Table
from dynalake.spark.executors import Executors
from dynalake.spark.request import Request, write_outcome
from dynalake.spark.work import do_work


def main() -> None:
    """Do what the arguments request. An error is reported to the sender, and fails the job."""
    request = Request.from_arguments(sys.argv[1:])
    clients = Clients.in_region(request.region)
    names = load_lake(clients, request.environment).table(request.table)
    spark = SparkSession.builder.appName(f"dynalake {request.work} {request.table}").getOrCreate()
    try:
        answer = do_work(Table(clients, names), request, Executors(spark.sparkContext, request.part_bytes))
    except Exception as error:
        write_outcome(Table(clients, names), request, explain(error) or error)
        raise
    write_outcome(Table(clients, names), request, answer)
    print(answer)


if __name__ == "__main__":
    main()
