"""What `make run` (embedded) and `make up` (containers) start. The machine-learning part knows nothing of it."""
