"""Benchmarks: ours against each peer and against the limit the machine sets.

``python -m benchmarks.run`` lists them, ``python -m benchmarks.run NAME`` runs one.
"""
