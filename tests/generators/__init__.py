"""Clients that public generators make from OpenAPI, used against a real process. Generators come from ``PATH``."""
