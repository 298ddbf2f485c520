"""Validation of ``DATABASE_URL`` by libpq itself, which all processes use."""

import re
from urllib.parse import unquote

from psycopg import Error, pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

SCHEMES = ("postgresql", "postgres", "postgresql+psycopg")

# Parameters that the service sets for each connection, so that values in the URL would be ignored.
OWN_PARAMETERS = (
    "application_name",
    "client_encoding",
    "connect_timeout",
    "fallback_application_name",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "replication",
    "tcp_user_timeout",
)

# Values of target_session_attrs that select a server that accepts writes.
_WRITABLE = ("any", "read-write", "primary")

_NOWHERE = "/nonexistent/livescore"

_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)


def parse(text: str) -> str:
    """Validate a URL and return it in the form that libpq and psycopg accept.

    Raises:
        ValueError: The URL is invalid. The message gives the reason and contains no part of the URL, which may include
            a password.
    """
    check_characters(text)
    scheme, separator, rest = text.partition("://")
    if not separator or scheme.lower() not in SCHEMES:
        raise ValueError("must begin with postgresql:// (postgres:// and postgresql+psycopg:// are read alike)")
    if rest.partition("?")[0].count("@") > 1:
        raise ValueError("contains @ in the user or password: percent-encode it as %40, and / as %2F")
    url = f"postgresql://{rest}"
    parameters = _parameters(url)
    _check_given_once(url, parameters)
    _check_own(parameters)
    _check_ports(parameters)
    _check_values(parameters)
    return url


def check_characters(text: str) -> None:
    """Reject quotes around a URL and characters that no URL contains.

    Raises:
        ValueError: The message gives the reason.
    """
    if text[:1] in "\"'`" or text[-1:] in "\"'`":
        raise ValueError("is in quotes: remove them")
    if re.search(r"\s|[^\x20-\U0010ffff]|\x7f", text):
        raise ValueError("contains blanks, line ends or control characters: percent-encode them, a blank as %20")


def _parameters(url: str) -> dict[str, str]:
    try:
        return {name: str(value) for name, value in conninfo_to_dict(url).items() if value is not None}
    except (Error, UnicodeError):
        raise ValueError(
            "cannot be read: it must be like postgresql://user:password@host:5432/database?sslmode=require, with only "
            "parameters of libpq, and with special characters in the password percent-encoded (@ as %40, / as %2F)"
        ) from None


def _check_given_once(url: str, parameters: dict[str, str]) -> None:
    """Reject parameters that are given twice, in the query or before it: libpq would ignore one of the values."""
    before, _, query = url.partition("?")
    names = [unquote(pair.partition("=")[0]) for pair in query.split("&") if pair]
    repeated = {name for name in names if names.count(name) > 1}
    repeated |= _parameters(before).keys() & set(names)
    if repeated:
        # Names that libpq does not know could be part of a password.
        known = sorted(repeated & parameters.keys())
        raise ValueError(f"gives {', '.join(known) or 'a parameter'} twice: remove one")


def _check_own(parameters: dict[str, str]) -> None:
    own = [name for name in OWN_PARAMETERS if name in parameters]
    if own:
        raise ValueError(f"sets {', '.join(own)}, which the service sets itself: remove it")
    if parameters.get("target_session_attrs", "any") not in _WRITABLE:
        raise ValueError(f"has a target_session_attrs other than {', '.join(_WRITABLE)}: the service has to write")


def _count_hosts(parameters: dict[str, str]) -> int:
    return 1 + max(parameters.get(name, "").count(",") for name in ("host", "hostaddr"))


def _check_ports(parameters: dict[str, str]) -> None:
    """Check the port of each host. libpq checks a port only when it tries the host."""
    ports = parameters.get("port", "").split(",")
    are_valid = all(_is_port(port) for port in ports if port)
    has_matching_count = len(ports) in (1, _count_hosts(parameters))
    if not (are_valid and has_matching_count):
        raise ValueError("has a port that is not a number from 1 to 65535, or not as many ports as hosts")


def _is_port(text: str) -> bool:
    return _PORT.fullmatch(text) is not None and 1 <= int(text) <= 65_535


def _check_values(parameters: dict[str, str]) -> None:
    """Let libpq check the values by an attempt to connect to a socket that does not exist."""
    values = {name: value for name, value in parameters.items() if name != "hostaddr"}
    values["host"] = ",".join([_NOWHERE] * _count_hosts(parameters))
    attempt = pq.PGconn.connect_start(make_conninfo("", **values).encode())
    message = attempt.error_message.decode(errors="replace")
    attempt.finish()
    # libpq opens the socket after it has accepted all values.
    if message and _NOWHERE not in message:
        raise ValueError(_reason(message, parameters))


def _reason(message: str, parameters: dict[str, str]) -> str:
    # Values are quoted in the message, and may be secret. The names are those of libpq.
    without_values = re.sub(r'(?<!option )"[^"]*"', "", message)
    for name in parameters:
        if re.search(rf"\b{name}\b", without_values):
            return f"has a value of {name} that libpq refuses"
    return "is refused by libpq"
