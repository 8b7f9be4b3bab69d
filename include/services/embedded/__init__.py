"""All services on this machine, without containers: PostgreSQL, the object store and MLflow, started when needed.

For the first try, for tests and for CI. Everything listens on loopback; all state is in one folder (`.embedded`).
"""
