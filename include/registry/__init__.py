"""The model registry (MLflow): register, the gate before the alias `champion`, its history, and fair comparison."""
