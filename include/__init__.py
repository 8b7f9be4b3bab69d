"""The machine-learning part: configuration, DVC stages, registry and lineage. Imports no Airflow."""
