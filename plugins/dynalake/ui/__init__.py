"""The page in the Airflow UI: what `dynalake_watch` found. It looks at nothing itself, and changes nothing.

data            where the page's content comes from
view            what it shows
app             the page as an application
"""
