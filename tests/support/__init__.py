"""What tests and benchmarks share: the running parts, copies of the project, Airflow in a fork and by its REST API."""
