"""The bench: what a request and a delivered message cost, beside a textbook application. ``python -m tests.load``."""
