"""Masking of the values of Secrets, in all their encodings: in manifests of a plan, and in texts of others. Pure."""

import json
import re
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote, quote_plus, unquote

from livescore_operator.resource import Manifest

MASK = "********"

# Annotation with the manifest that kubectl applied: a second copy of a whole Secret.
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

# Keys that database operators store next to a password. Masking a user such as `livescore` would mask all names.
IDENTITY_KEYS = frozenset({"user", "username", "host", "port", "database", "dbname", "db", "ca.crt", "tls.crt"})

# Shorter values are masked only if they are a whole string: `yes` is part of many words.
MIN_LENGTH = 6

# Characters at which a driver may split a URL that it misreads.
_DELIMITERS = re.compile(r"[:/@?#&=,;\s\[\]]+")


class Redactor:
    """Masks the values of Secrets.

    Args:
        secrets: Secrets with `data` or `stringData`.
    """

    def __init__(self, secrets: Iterable[Manifest]) -> None:
        values: set[str] = set()
        passwords: set[str] = set()
        for secret in secrets:
            values.update(_values(secret))
        for value in values:
            passwords.update(_passwords(value))
        forms: set[str] = set()
        for value in values | passwords:
            forms.update(_forms(value))
        parts = set(passwords)
        for password in passwords:
            parts.update(_DELIMITERS.split(password))
        # Strings that are masked as a whole, anywhere in a string, and as tokens of an error message.
        self._whole = frozenset(forms)
        self._anywhere = _alternatives(form for form in forms if len(form) >= MIN_LENGTH)
        self._parts = _alternatives(parts - {""}, tokens=True)

    def text(self, text: str) -> str:
        """Mask values, and every part of a URL's password, in a text of another program.

        A driver that takes a raw `@` or `/` in a password for a delimiter reports a part of it as a host or port.
        """
        return self._parts.sub(MASK, self._anywhere.sub(MASK, text))

    def manifest(self, manifest: Manifest) -> Manifest:
        """Mask the data of a Secret, and copies of values anywhere in a manifest."""
        shown: Manifest = self._masked(_without_data(manifest) if manifest["kind"] == "Secret" else manifest)
        return shown

    def _masked(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._masked(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._masked(item) for item in value]
        return self._string(value) if isinstance(value, str) else value

    def _string(self, value: str) -> str:
        return MASK if value.strip() in self._whole else self._anywhere.sub(MASK, value)


def _without_data(secret: Manifest) -> Manifest:
    """Return a Secret with all values masked; the keys remain."""
    shown = dict(secret)
    for field in ("data", "stringData"):
        if field in secret:
            shown[field] = dict.fromkeys(secret[field] or {}, MASK)
    annotations = (secret.get("metadata") or {}).get("annotations") or {}
    if LAST_APPLIED in annotations:
        shown["metadata"] = {**secret["metadata"], "annotations": {**annotations, LAST_APPLIED: MASK}}
    return shown


def _values(secret: Manifest) -> Iterator[str]:
    """Yield the confidential values of a Secret, without surrounding whitespace."""
    for field in ("data", "stringData"):
        for key, value in (secret.get(field) or {}).items():
            if key.lower() not in IDENTITY_KEYS:
                yield from _readings(_decoded(str(value)) if field == "data" else str(value).encode())


def _decoded(value: str) -> bytes:
    try:
        return b64decode(value, validate=True)
    except ValueError:
        return value.encode()


def _readings(value: bytes) -> Iterator[str]:
    """Yield a value as text and in base64."""
    yield b64encode(value).decode()
    yield urlsafe_b64encode(value).decode().rstrip("=")
    if text := value.decode(errors="ignore").strip():
        yield text
        yield b64encode(text.encode()).decode()


def _passwords(value: str) -> Iterator[str]:
    """Yield the password of a URL, encoded and decoded: everything between the colon after the user and the last @."""
    for line in value.splitlines():
        _, scheme, rest = line.partition("://")
        user, at, _ = rest.rpartition("@")
        if scheme and at and (password := user.partition(":")[2]):
            yield password
            yield unquote(password)


def _forms(value: str) -> Iterator[str]:
    """Yield the spellings of a value in URLs, in JSON of Python and Go, and in YAML."""
    yield value
    yield unquote(value)
    yield quote(value, safe="")
    yield quote(value)
    yield quote_plus(value)
    escaped = json.dumps(value, ensure_ascii=False)[1:-1]
    yield escaped
    yield json.dumps(value)[1:-1]
    yield escaped.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    yield value.replace("'", "''")


def _alternatives(values: Iterable[str], *, tokens: bool = False) -> re.Pattern[str]:
    """Return a pattern that matches any of the values, the longest first. With `tokens`, only whole words match."""
    ordered = sorted(values, key=lambda value: (-len(value), value))
    if not ordered:
        return re.compile(r"(?!)")
    pattern = "|".join(map(re.escape, ordered))
    return re.compile(rf"(?<!\w)(?:{pattern})(?!\w)" if tokens else pattern, re.IGNORECASE)
