"""The page in the Airflow UI with the results of `dynalake_watch`, and Airflow's runs. It changes nothing by itself.

data            the source of the page's content
runs            Airflow's part: the last runs, and what a user may see and start
view            the content of the overview
detail          the content of a table's page
pipeline        the stages of a table
charts          places of lines, bars and axes
dbt_sources     the lake's tables as dbt's sources
links           addresses in Airflow and in AWS's console
texts           numbers, sizes and times
app             the page as an application
"""
