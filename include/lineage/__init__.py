"""Lineage: the manifest of each run, kept in the store, listed, restored, verified and compared."""
