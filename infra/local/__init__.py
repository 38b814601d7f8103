"""Local AWS, Airflow and Trino, for the demo and the tests."""
