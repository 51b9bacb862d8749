"""Measurements: `make bench`. One module per subject, named after what it measures.

A module has ``measure() -> list[Row]``; its rows are written to ``build/bench/<module>.json``.
"""
