"""LiveScore: a real-time sports scoring service."""

from importlib.metadata import version

__version__ = version("livescore")
