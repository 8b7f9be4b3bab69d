"""Garbage collection of the store: what no run, no champion and no commit needs any more."""
