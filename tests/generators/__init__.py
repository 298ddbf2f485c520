"""Clients generated from OpenAPI by public generators, run against a real process. Generators come from ``PATH``."""
