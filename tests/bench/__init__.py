"""``make bench``: what the tasks cost beside plain DVC and beside the usual hand-written DAG. No test: it measures.

All in one run on one machine, as medians; `TARGETS` says what the project wants to reach. Writes a table, a plot and
``build/bench/results.json``: name of the measure -> median, min, max, runs, unit.
"""
