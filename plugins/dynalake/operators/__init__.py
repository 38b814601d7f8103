"""What Airflow runs: parameters, tasks and the way from a task to AWS. Everything else in dynalake is plain Python."""
