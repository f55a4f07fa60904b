"""Benchmarks: how fast the relay is, as people's clients see it (`python -m tests.bench --help`).

Each starts a private server and a relay as a process of its own, prints a table and writes
nothing but the file of `--json`, which `plots` draws. The figures that they gave, with date and
machine, are in docs/performance.md.
"""
