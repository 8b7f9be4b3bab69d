"""The command line: thin shells over `include.lineage`, `include.registry` and `include.doctor`."""
