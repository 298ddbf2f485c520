"""Errors of the development stack. The text of each is one line that names the setting to change.

::

    DevelopmentError
    ├── WheelMissing     the extra `embedded` is not installed
    ├── BrokenDataDir    the data cannot be used
    ├── DataDirInUse     another process uses the data
    └── PortInUse        a port of the API is in use
"""


class DevelopmentError(Exception):
    """The development stack cannot run."""


class WheelMissing(DevelopmentError):
    """The wheel of a server is not installed."""


class BrokenDataDir(DevelopmentError):
    """The data of a server cannot be read, written or understood."""


class DataDirInUse(DevelopmentError):
    """Another process uses the same data."""


class PortInUse(DevelopmentError):
    """A port that the stack needs is in use."""
