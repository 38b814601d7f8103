"""Packs dynalake for the places that run Airflow: one folder below `dist/` for each.

    bundle      the folder: DAGs, the plugins folder, requirements
    mwaa        files for Amazon MWAA
    astronomer  files for Astronomer
    helm        files for the Helm chart of Apache Airflow

In all of them dynalake is a plugins folder, which also holds the Lambda's code and the templates.
"""
