"""The page in the Airflow UI: what `dynalake_watch` found. It looks at nothing itself, and changes nothing."""
