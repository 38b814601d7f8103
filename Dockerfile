# Airflow with dynalake's dependencies. dags/ and plugins/ are mounted or copied separately.
FROM apache/airflow:3.3.2-python3.12
COPY requirements.txt /requirements.txt
RUN pip install --no-cache-dir --require-hashes -r /requirements.txt
