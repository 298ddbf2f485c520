"""The ``livescore`` command."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated

import orjson
import typer

from livescore import __version__
from livescore.cli import connections, jobs, keys
from livescore.settings import Settings, SettingsError, commit, load
from livescore.telemetry import logs

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(jobs.app, name="jobs")
app.add_typer(keys.app, name="keys")


def main() -> None:
    """Run the command. Exits with status 2 and lists all errors if the configuration is invalid."""
    try:
        app()
    except SettingsError as error:
        typer.echo(error, err=True)
        sys.exit(2)


def _configured() -> Settings:
    """Load the settings and configure logging."""
    settings = load()
    logs.configure(settings)
    return settings


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"livescore {__version__} ({commit()})")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show version and commit.")
    ] = False,
) -> None:
    """Serve live scores, and manage the service."""


@app.command()
def api() -> None:
    """Serve REST, WebSocket and server-sent events."""
    from livescore import server

    try:
        server.run(_configured())
    except server.AddressError as error:
        typer.echo(f"livescore api: {error}", err=True)
        sys.exit(1)


@app.command()
def worker() -> None:
    """Run jobs: status changes on time, webhooks, standings, imports and retention."""
    from livescore.jobs.processes import run_worker

    sys.exit(run_worker(_configured()))


@app.command()
def scheduler() -> None:
    """Enqueue each job for the worker when it is due."""
    from livescore.jobs.processes import run_scheduler

    sys.exit(run_scheduler(_configured()))


@app.command()
def migrate() -> None:
    """Upgrade the database schema to this version.

    Safe to repeat, and to run from several processes at once. A schema that a newer version has already upgraded is
    left unchanged, because this version works with it.
    """
    import psycopg
    from sqlalchemy.exc import ArgumentError, DBAPIError

    from livescore.scores import migrations, schema

    url = _configured().database_url.get_secret_value()
    try:
        revision = migrations.upgrade(url)
    except (ArgumentError, DBAPIError, psycopg.Error, migrations.SchemaLocked, migrations.UnknownRevision) as error:
        typer.echo(f"livescore migrate: {connections.one_line(getattr(error, 'orig', error), url)}", err=True)
        sys.exit(1)
    typer.echo(f"schema is at {revision}")
    if schema.is_newer(revision):
        typer.echo(f"This is newer than {schema.HEAD}, the schema of this version: nothing was changed.", err=True)


@app.command()
def dev() -> None:
    """Run the whole service on this machine.

    Starts an embedded PostgreSQL unless DATABASE_URL is set, and an embedded Valkey unless REDIS_URL is set. Part of
    the development tools, which only a clone of the repository has.
    """
    from livescore_dev import stack

    sys.exit(stack.run(os.environ))


@app.command()
def replay(
    file: Annotated[Path, typer.Argument(help="JSON file of the openfootball project.")],
    speed: Annotated[float, typer.Option(help="How many times faster than real time.")] = 60.0,
    base_url: Annotated[str, typer.Option(help="URL of the API.")] = "http://127.0.0.1:8000",
    api_key: Annotated[
        str | None, typer.Option(help="API key of scope write or admin.", envvar="LIVESCORE_API_KEY")
    ] = None,
) -> None:
    """Replay real matches through the REST API: a World Cup, a Euro, another cup, or a season of a league.

    FILE is a JSON file of the openfootball project: worldcup.json, euro.json, champions-league.json and other cups,
    or a league of football.json: the Premier League (en.1), La Liga (es.1), Serie A (it.1), the Bundesliga (de.1).
    Matches that were postponed, cancelled, abandoned, awarded or not played yet keep that outcome. Part of the
    development tools, which only a clone of the repository has.
    """
    from livescore_dev.replay import ReplayError
    from livescore_dev.replay import replay as play

    try:
        asyncio.run(play(file, speed=speed, base_url=base_url, api_key=api_key))
    except ReplayError as error:
        typer.echo(f"livescore replay: {error}", err=True)
        sys.exit(1)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="JSON or CSV file: openfootball, or the format in docs/imports.md.")],
    url: Annotated[str, typer.Option(help="URL of the API.", envvar="LIVESCORE_URL")] = "http://127.0.0.1:8000",
    key: Annotated[str | None, typer.Option(help="API key of scope admin.", envvar="LIVESCORE_API_KEY")] = None,
    competition: Annotated[
        str | None, typer.Option(help="Id of the competition, in place of that in the file.")
    ] = None,
    season: Annotated[str | None, typer.Option(help="Season, in place of that in the file.")] = None,
    rule_set: Annotated[str | None, typer.Option(help="Rule set of the season's standings.")] = None,
) -> None:
    """Import matches and results from a file through the REST API.

    A worker imports them in the background; interrupting this command does not stop it. Importing a file again changes
    nothing, importing a corrected file changes what is different. Exits with status 1 if a match could not be imported.
    """
    from livescore.cli import imports

    options = {"competition": competition, "season": season, "ruleSet": rule_set}
    try:
        complete = imports.run(file, url=url, key=key, options=options)
    except imports.ImportFailed as error:
        typer.echo(f"livescore import: {error}", err=True)
        sys.exit(1)
    if not complete:
        sys.exit(1)


@app.command()
def openapi() -> None:
    """Print the OpenAPI document of the REST API."""
    from livescore import application
    from livescore.api import openapi as description

    _print(description.document(application.ROUTES))


@app.command()
def asyncapi() -> None:
    """Print the AsyncAPI document of the WebSocket messages."""
    from livescore.api import asyncapi as messages

    _print(messages.document())


def _print(document: object) -> None:
    typer.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
