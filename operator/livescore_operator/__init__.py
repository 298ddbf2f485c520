"""The LiveScore operator: one resource becomes a running score service, and stays one."""

__version__ = "0.1.0"
