"""``livescore import``: sends a file to a running service, and follows its import."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from livescore import __version__

# Seconds between two questions for the progress, and for an answer. The upload of 20 MB may take its time.
POLL_SECONDS = 0.5
TIMEOUT_SECONDS = 60.0

# Seconds for which a server may be away while it imports: a restart takes a few.
AWAY_SECONDS = 60.0

# Errors and warnings that are printed.
SHOWN = 20

_TYPES = {".csv": "text/csv", ".json": "application/json"}


class ImportFailed(Exception):
    """The file could not be imported. The text says why, and what to do."""


def run(
    file: Path,
    *,
    url: str,
    key: str | None,
    options: Mapping[str, str | None],
    console: Console | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Import a file and show the progress.

    Args:
        file: A JSON or CSV file.
        url: URL of the API.
        key: API key of scope admin, if the server requires one.
        options: Query parameters of ``POST /imports``.
        console: The terminal by default.
        sleep: Waits some seconds.

    Returns:
        True if all matches were imported.

    Raises:
        ImportFailed: The file cannot be read, or the server refuses it or is away.
    """
    console = console or Console()
    media_type = _TYPES.get(file.suffix.lower())
    if media_type is None:
        raise ImportFailed(f"{file}: the name must end with .json or .csv")
    try:
        body = file.read_bytes()
    except OSError as error:
        raise ImportFailed(f"{file} cannot be opened: {error.strerror}") from error
    query = {name: value for name, value in {"name": file.name, **options}.items() if value is not None}
    with _client(url, key) as client:
        try:
            created = _send(
                client, "POST", "/imports", params=query, content=body, headers={"Content-Type": media_type}
            )
            ended = _follow(client, created, console, sleep)
        except httpx.TransportError as error:
            reason = str(error) or type(error).__name__
            raise ImportFailed(f"{url} does not answer ({reason}): is `livescore api` running there?") from error
    return _report(ended, console)


def _client(url: str, key: str | None) -> httpx.Client:
    if not url.startswith(("http://", "https://")):
        raise ImportFailed(f"--url {url} must look like http://127.0.0.1:8000")
    headers = {"User-Agent": f"livescore-import/{__version__}", **({"X-API-Key": key} if key else {})}
    try:
        return httpx.Client(base_url=url.rstrip("/"), headers=headers, timeout=TIMEOUT_SECONDS)
    except (httpx.InvalidURL, UnicodeEncodeError) as error:
        raise ImportFailed(f"--url or --key: {error}") from error


def _send(client: httpx.Client, method: str, path: str, **request: Any) -> dict[str, Any]:
    """Return the ``data`` of a response.

    Raises:
        ImportFailed: The server refuses the request.
        httpx.TransportError: The server is away.
    """
    response = client.request(method, path, **request)
    try:
        envelope = response.json()
    except ValueError:
        raise ImportFailed(f"{response.url} is not the REST API of LiveScore: check --url") from None
    if response.status_code in (401, 403):
        raise ImportFailed(
            f"{envelope.get('error')}: set --key to a key of scope admin (`livescore keys create NAME --scope admin`)"
        )
    if not response.is_success:
        details = "; ".join(f"{issue['path']}: {issue['message']}" for issue in envelope.get("details") or ())
        raise ImportFailed(f"{response.status_code} {envelope.get('error')} {details}".strip())
    data: dict[str, Any] = envelope["data"]
    return data


def _follow(
    client: httpx.Client, started: dict[str, Any], console: Console, sleep: Callable[[float], None]
) -> dict[str, Any]:
    """Show the progress until the import has ended. Returns the import."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(f"import {started['id']}", total=None)
        current, away = started, 0.0
        while current["status"] in ("pending", "running"):
            sleep(POLL_SECONDS)
            try:
                current, away = _send(client, "GET", f"/imports/{started['id']}"), 0.0
            except (httpx.TransportError, ImportFailed):
                away += POLL_SECONDS
                if away > AWAY_SECONDS:
                    raise
            progress.update(task, total=current["total"], completed=current["done"] + current["failed"])
    return current


def _report(ended: dict[str, Any], console: Console) -> bool:
    """Print counts, errors and warnings. Returns True if there is no error."""
    if ended["error"]:
        raise ImportFailed(ended["error"])
    counts = ", ".join(f"{ended[name]} {name}" for name in ("created", "updated", "unchanged", "failed"))
    console.print(Text(f"{ended['total']} matches: {counts}"))
    for name, style in (("errors", "red"), ("warnings", "yellow")):
        problems = ended[name]
        for problem in problems[:SHOWN]:
            place = f"row {problem['row']} ({problem['match']})"
            field = f", field {problem['field']}" if problem["field"] else ""
            console.print(Text(f"{place}{field}: {problem['message']}", style=style))
        if len(problems) > SHOWN:
            console.print(Text(f"and {len(problems) - SHOWN} more: GET /imports/{ended['id']}", style=style))
    return not ended["failed"]
