# Airflow with what dynalake needs on top. dags/ and plugins/ are mounted or copied beside it.
FROM apache/airflow:3.3.2-python3.12
COPY requirements.txt /requirements.txt
RUN pip install --no-cache-dir --require-hashes -r /requirements.txt
