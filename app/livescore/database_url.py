"""A ``DATABASE_URL``, judged by libpq itself, so that every process reads it alike."""

import re
from urllib.parse import unquote

from psycopg import Error, pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

SCHEMES = ("postgresql", "postgres", "postgresql+psycopg")

# What the service decides for each connection. Accepting other values would ignore them.
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

# Values of target_session_attrs that lead to a server that takes writes.
_WRITABLE = ("any", "read-write", "primary")

_NOWHERE = "/nonexistent/livescore"

_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)


def parse(text: str) -> str:
    """Check a URL and return it as libpq and psycopg read it.

    Raises:
        ValueError: with the reason, without any part of the URL: it may hold a password.
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
    """Refuse what stands in no URL.

    Raises:
        ValueError: with the reason.
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
    """Refuse what is given twice, in the query or before it: libpq would use one value and ignore the other."""
    before, _, query = url.partition("?")
    names = [unquote(pair.partition("=")[0]) for pair in query.split("&") if pair]
    twice = {name for name in names if names.count(name) > 1} | (_parameters(before).keys() & set(names))
    if twice:
        known = sorted(twice & parameters.keys())
        raise ValueError(f"gives {', '.join(known) or 'a parameter'} twice: remove one")


def _check_own(parameters: dict[str, str]) -> None:
    own = [name for name in OWN_PARAMETERS if name in parameters]
    if own:
        raise ValueError(f"sets {', '.join(own)}, which the service sets itself: remove it")
    if parameters.get("target_session_attrs", "any") not in _WRITABLE:
        raise ValueError(f"has a target_session_attrs other than {', '.join(_WRITABLE)}: the service has to write")


def _hosts(parameters: dict[str, str]) -> int:
    return 1 + max(parameters.get(name, "").count(",") for name in ("host", "hostaddr"))


def _check_ports(parameters: dict[str, str]) -> None:
    """Check the port of each host; libpq does so only when it tries that host."""
    ports = parameters.get("port", "").split(",")
    valid = all(not port or (_PORT.fullmatch(port) and 1 <= int(port) <= 65_535) for port in ports)
    if not valid or len(ports) not in (1, _hosts(parameters)):
        raise ValueError("has a port that is not a number from 1 to 65535, or not as many ports as hosts")


def _check_values(parameters: dict[str, str]) -> None:
    """Let libpq judge the values by a connection to a socket that does not exist."""
    hosts = _hosts(parameters)
    named = {name: value for name, value in parameters.items() if name != "hostaddr"}
    attempt = pq.PGconn.connect_start(make_conninfo("", **{**named, "host": ",".join([_NOWHERE] * hosts)}).encode())
    message = attempt.error_message.decode(errors="replace")
    attempt.finish()
    # Once libpq opens the socket, it has accepted all values.
    if message and _NOWHERE not in message:
        raise ValueError(_reason(message, parameters))


def _reason(message: str, parameters: dict[str, str]) -> str:
    # Values stand in quotes, and may be secret; names are libpq's own.
    said = re.sub(r'(?<!option )"[^"]*"', "", message)
    found = [name for name in parameters if re.search(rf"\b{name}\b", said)]
    return f"has a value of {found[0]} that libpq refuses" if found else "is refused by libpq"
