"""Benchmark: the cost of a request and of a delivered message, compared with a textbook application.

Run it by ``python -m tests.load``.
"""
