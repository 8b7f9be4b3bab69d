"""One module per DVC stage, run as ``python -m include.stages.<stage>`` in the root of a project or workspace."""
