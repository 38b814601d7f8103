"""Tasks that wait without holding a worker, where they can.

canaries        for canaries
export          for an export
spark_run, glue_run                  for work by the lake's Glue job
triggers        in the triggerer
"""
