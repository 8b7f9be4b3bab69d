"""All parts on one machine, without containers: PostgreSQL, the object store and MLflow, started and stopped as needed.

For the first try, for tests and for CI. Everything listens on loopback; all state is in one folder (`.embedded`).
"""
