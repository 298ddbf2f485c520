"""``livescore keys``: manage the API keys in the table ``api_key``."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import orjson
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from livescore.cli import connections
from livescore.scores import statements as sql
from livescore.security.keys import ApiKey, generate

app = typer.Typer(no_args_is_help=True, help="Create, list and revoke API keys.")


def _name(text: str) -> str:
    if not (text.strip() and text.isprintable()):
        raise typer.BadParameter("use at least one printable character and no control characters")
    return text.strip()


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Name of the client, shown by `livescore keys list`.", callback=_name)],
    scope: Annotated[
        Literal["read", "write", "admin"], typer.Option(help="Permission; each scope includes the ones before it.")
    ] = "write",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print an entry for an API_KEYS_FILE; the key itself goes to standard error.")
    ] = False,
) -> None:
    """Create a key and print it. It cannot be shown again: only its digest is stored."""
    text, key = generate(name, [scope])
    with connections.database("keys") as database:
        database.execute(sql.ADD_API_KEY, {**asdict(key), "scopes": list(key.scopes)})
    typer.echo(text, err=as_json)
    if as_json:
        typer.echo(orjson.dumps([_entry(key)], option=orjson.OPT_INDENT_2).decode())
    typer.echo("Store the key now: it cannot be shown again.", err=True)


@app.command("list")
def show() -> None:
    """List all keys, including revoked ones."""
    with connections.database("keys") as database:
        Console().print(_table(database.execute(sql.ALL_API_KEYS).fetchall()))


@app.command()
def revoke(id: Annotated[str, typer.Argument(help="Key id, as shown by `livescore keys list`.")]) -> None:
    """Revoke a key. Every process rejects it within seconds."""
    with connections.database("keys") as database:
        known = {key[0]: key for key in database.execute(sql.ALL_API_KEYS)}
        if id not in known:
            connections.fail("keys", f"there is no key {id}: `livescore keys list` shows all keys")
        database.execute(sql.REVOKE_API_KEY, {"id": id})
    typer.echo(f"revoked {id} ({known[id][1]})")


def _entry(key: ApiKey) -> dict[str, Any]:
    return {name: value for name, value in asdict(key).items() if name != "revoked"}


def _table(keys: Sequence[tuple[str, str, list[str], datetime, datetime | None]]) -> Table:
    table = Table()
    for title in ("id", "name", "scopes", "created (UTC)", "revoked (UTC)"):
        table.add_column(title, no_wrap=title != "name")
    for id, name, scopes, created, revoked in keys:
        # Text, not markup: a name may contain brackets.
        cells = (id, name, ", ".join(scopes), _minute(created), _minute(revoked))
        table.add_row(*map(Text, cells), style="dim" if revoked else None)
    return table


def _minute(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}"
