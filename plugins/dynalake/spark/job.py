"""The script that AWS Glue or EMR Serverless runs: one partition to Parquet on Spark.

spark-submit --py-files dynalake.zip spark-job.py --region eu-west-1 --environment prod --table RECEIPTS --day 20190525
"""

from __future__ import annotations

import sys
from functools import partial

from pyspark.sql import SparkSession

from dynalake.aws_errors import explain
from dynalake.capture.lake import load_lake
from dynalake.clients import Clients
from dynalake.spark.convert import convert_day
from dynalake.spark.request import Request, write_outcome


def main() -> None:
    """Convert what the arguments ask for; an error is told to whoever asked, and fails the job."""
    request = Request.from_arguments(sys.argv[1:])
    make_clients = partial(Clients.in_region, request.region)
    clients = make_clients()
    names = load_lake(clients, request.environment).table(request.table)
    spark = SparkSession.builder.appName(f"dynalake {request.table} {request.day}").getOrCreate()
    try:
        converted = convert_day(spark, make_clients, names, request.day, request.options, request.beside, request.force)
    except Exception as error:
        write_outcome(clients, names, request, explain(error) or error)
        raise
    write_outcome(clients, names, request, converted)
    print(converted)


if __name__ == "__main__":
    main()
