"""The long runs: `make chaos`, or `python -m tests.chaos [PART…]`.

Each part is a function of a size and a first seed that gives rows for `docs/reliability.md`. The
small forms of the same functions are tests in `tests/faults`.
"""
