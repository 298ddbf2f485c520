"""The LiveScore operator: one resource becomes a running score service, and stays one."""

from importlib.metadata import version

__version__ = version("livescore")
