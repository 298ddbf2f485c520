"""The ``livescore-operator`` command."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from livescore_operator import __version__, settings

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def main() -> None:
    """Run the command. Exits with status 2 and lists all errors if the configuration is invalid."""
    try:
        app()
    except settings.SettingsError as error:
        typer.echo(error, err=True)
        sys.exit(2)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Show version and commit.", is_eager=True)] = False,
) -> None:
    """Run LiveScore resources on Kubernetes."""
    if version:
        typer.echo(f"livescore-operator {__version__} ({settings.commit()})")
        raise typer.Exit


@app.command()
def run(
    namespace: Annotated[list[str] | None, typer.Option(help="Serve this namespace; may be repeated.")] = None,
    all_namespaces: Annotated[bool, typer.Option("--all-namespaces", help="Serve the whole cluster.")] = False,
) -> None:
    """Reconcile LiveScores until SIGTERM."""
    from livescore_operator import process
    from livescore_operator.cluster import NoCluster
    from livescore_operator.listener import AddressError
    from livescore_operator.telemetry import logs

    configured = settings.load(**({"namespaces": namespace} if namespace else {}))
    if all_namespaces == bool(configured.namespaces):
        raise typer.BadParameter("give either --namespace NAME, once or more, or --all-namespaces")
    logs.configure(configured)
    try:
        asyncio.run(process.run(configured))
    except NoCluster as error:
        typer.echo(f"livescore-operator run: no cluster is configured: {error}", err=True)
        sys.exit(1)
    except AddressError as error:
        typer.echo(f"livescore-operator run: {error}", err=True)
        sys.exit(1)


@app.command()
def crd() -> None:
    """Print the CustomResourceDefinition."""
    from livescore_operator.components.common import to_yaml
    from livescore_operator.crd import crd as definition

    typer.echo(to_yaml([definition()]), nl=False)


@app.command()
def render(
    file: Annotated[Path, typer.Option("--filename", "-f", help="File with a LiveScore.", exists=True, dir_okay=False)],
) -> None:
    """Print the objects that the operator creates for a LiveScore, with placeholders for passwords."""
    from livescore_operator.components.common import to_yaml
    from livescore_operator.rendering import RenderError, render

    try:
        typer.echo(to_yaml(render(file.read_text(encoding="utf-8"))), nl=False)
    except (RenderError, UnicodeDecodeError) as error:
        typer.echo(f"livescore-operator render: {file}: {error}", err=True)
        sys.exit(1)
