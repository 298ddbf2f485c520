"""Files of API keys, such as mounted Secrets."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import structlog
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from livescore.security.keys import ApiKey, digest

log = structlog.get_logger(__name__)

# Characters. A shorter key could be guessed: `openssl rand -base64 24` prints 32.
_MIN_ADMIN_KEY_LENGTH = 16


class _Entry(BaseModel):
    """One key of the file. Unknown members are ignored, so that newer versions may add some."""

    model_config = ConfigDict(extra="ignore")

    id: str
    name: str
    digest: str = Field(pattern="^[0-9a-f]{64}$")
    scopes: tuple[Literal["read", "write", "admin"], ...]
    revoked: bool = False


_entries = TypeAdapter(list[_Entry])


class KeyFile:
    """The keys of a JSON file.

    Attributes:
        keys: Its keys when it was last read successfully.
    """

    def __init__(self, path: Path) -> None:
        self.keys: tuple[ApiKey, ...] = ()
        self._file = _WatchedFile("API_KEYS_FILE", path, self._parse)

    def refresh(self) -> None:
        """Read the file again if it has changed."""
        self._file.refresh()

    def _parse(self, content: bytes) -> None:
        entries = _entries.validate_python(json.loads(content))
        self.keys = tuple(ApiKey(**entry.model_dump()) for entry in entries)


class AdminKeyFile:
    """A file with the text of one key with scope ``admin``. Surrounding white space is ignored.

    Attributes:
        key: Its key when it was last read successfully.
    """

    def __init__(self, path: Path) -> None:
        self.key: ApiKey | None = None
        self._file = _WatchedFile("ADMIN_KEY_FILE", path, self._parse)

    def refresh(self) -> None:
        """Read the file again if it has changed."""
        self._file.refresh()

    def _parse(self, content: bytes) -> None:
        text = content.decode().strip()
        if len(text) < _MIN_ADMIN_KEY_LENGTH:
            raise ValueError("too short")
        self.key = ApiKey("admin", "ADMIN_KEY_FILE", digest(text), ("admin",))


class _WatchedFile:
    """A file that is parsed again whenever it changes. Kubernetes updates a mounted Secret by replacing a link."""

    def __init__(self, variable: str, path: Path, parse_content: Callable[[bytes], None]) -> None:
        self._variable = variable
        self._path = path
        self._parse_content = parse_content
        self._version: tuple[int, ...] | None = None
        self._logged = ""

    def refresh(self) -> None:
        """Parse the file if it has changed. An error is logged once per cause."""
        try:
            status = self._path.stat()
            version = (status.st_mtime_ns, status.st_ino, status.st_size)
            if version != self._version:
                self._parse_content(self._path.read_bytes())
                self._version = version
            self._logged = ""
        except (OSError, ValueError) as error:
            self._log_once(type(error).__name__)

    def _log_once(self, reason: str) -> None:
        # Called every few seconds. The text of the error is not logged because it could quote the file.
        if reason != self._logged:
            self._logged = reason
            message = f"{self._variable} cannot be read, keeping the last keys"
            log.error(message, path=str(self._path), reason=reason)
