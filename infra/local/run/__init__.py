"""Start local AWS and Airflow, keep them running, and stop them."""
