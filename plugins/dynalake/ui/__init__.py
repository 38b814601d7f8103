"""The page in the Airflow UI with the results of `dynalake_watch`. It reads nothing else, and changes nothing.

data            the source of the page's content
view            the content of the page
app             the page as an application
"""
