"""What tests and benchmarks share: services, copies of the project, Airflow in a fork and by its REST API."""
