"""Fuzzing of everything that reads bytes which a stranger may have written; ``python -m tests.fuzz --help``.

A *target* (`tests.fuzz.target`) takes any bytes, feeds them to one reader and asserts what must hold whatever the bytes
are. Two engines drive the same targets: atheris, guided by coverage, for millions of inputs; and hypothesis together
with the kept corpus in the ordinary tests (`tests/test_fuzz.py`).
"""
