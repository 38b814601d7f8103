"""
### Compares every item of the tables with the lake

The watch compares some items every ten minutes. This DAG compares **all** of them with **{t}_current**, once a week, or
when you trigger it, and gives each table a certificate: "1,000,000 items compared, 0 differences".

1. **export**, one mapped task per table: requests an export from DynamoDB and waits for it without a worker. It costs
   about $0.10 per GB. Without point-in-time recovery, or with the method **scan**, nothing is exported.
2. **compare**: reads the export, or scans the table within "Maximum read capacity", and reads the lake. It compares
   digests, a share of all keys at a time, so memory stays small. It needs about 300 bytes of disk per item.
3. **settle**: items change while they are compared. Those in doubt are read again, strongly consistent, until the lake
   shows what DynamoDB showed; at most for twice the freshness target.
4. **report**: the certificates are in the run's note, and in S3. It fails if an item differs, and names up to 100 keys.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, chain

from dynalake.operators import certify
from dynalake.operators.scheduled import of_lake
from dynalake.operators.task import limits
from dynalake.options.lakes import correct_entries
from dynalake.options.runs import CertifyOptions
from dynalake.options.where import Tables

for lake in correct_entries():
    with DAG(
        **of_lake(lake, "certify", Tables, CertifyOptions),
        description="Compares every item of the tables with the lake",
        doc_md=__doc__,
        schedule=lake.certify_schedule,
        catchup=False,
        max_active_runs=1,
        dagrun_timeout=limits.CERTIFY_RUN,
        default_args={"retries": 2, "retry_delay": timedelta(minutes=1), "execution_timeout": limits.TASK},
    ):
        tables = certify.tables()
        compared = certify.compare.expand(name=certify.read_each(tables))
        chain(certify.settle.expand(name=compared), certify.report(tables))
