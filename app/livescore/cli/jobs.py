"""``livescore jobs``: the jobs in Redis, and retries of failed ones."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from livescore.cli import connections
from livescore.scores import statements as sql

if TYPE_CHECKING:  # RQ takes a while to import, and other commands do without it
    from livescore.jobs.backlog import JobList, ListedJob

app = typer.Typer(invoke_without_command=True, help="List jobs, and retry failed ones.")

_STYLES = {"failed": "red", "running": "green", "planned": "dim"}


@app.callback()
def show(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Most jobs of each queue and state.")] = 20,
) -> None:
    """List the jobs that are queued, running, planned or have failed.

    Failed jobs are kept for a week. Times are UTC: since when a job waits or runs, when it is due, or when it failed.
    """
    if context.invoked_subcommand is None:
        with _job_list() as jobs:
            Console().print(_table(jobs.jobs(limit)))


@app.command()
def retry(
    id: Annotated[str | None, typer.Argument(help="Id of a failed job, as shown by `livescore jobs`.")] = None,
    all_failed: Annotated[bool, typer.Option("--all", help="Retry all failed jobs.")] = False,
) -> None:
    """Return failed jobs to their queue."""
    if (id is None) != all_failed:
        raise typer.BadParameter("name one failed job, or use --all")
    with _job_list() as jobs:
        ids = jobs.failed_ids() if id is None else [id]
        reasons = {name: jobs.retry(name) for name in ids}
    for name, reason in reasons.items():
        typer.echo(f"retried {name}" if reason is None else f"{name} was not retried: {reason}", err=reason is not None)
    if id is not None and reasons[id] is not None:
        raise typer.Exit(1)


@contextmanager
def _job_list() -> Iterator["JobList"]:
    """Open the jobs of the deployment. Errors are printed as one line and end the process with status 1."""
    from livescore import redis_clients
    from livescore.deployment import Deployment
    from livescore.jobs.backlog import JobList

    settings = connections.settings()
    if redis_clients.redis_url(settings).is_cluster:
        connections.fail("jobs", "Redis is a cluster, which RQ cannot use: there are no jobs")
    with connections.database("jobs") as database:
        row = database.execute(sql.ORIGIN).fetchone()
    if row is None:
        connections.fail("jobs", "the database is empty: run `livescore migrate`")
    try:
        with redis_clients.rq_client(settings) as connection:
            yield JobList(connection, Deployment(settings.redis_prefix, row[0]))
    except redis_clients.AWAY as error:
        url = settings.redis_url.get_secret_value()
        connections.fail("jobs", f"Redis is away: {connections.one_line(error, url)}")


def _table(jobs: Iterable["ListedJob"]) -> Table:
    table = Table()
    for title in ("queue", "id", "state", "time (UTC)", "job", "error"):
        table.add_column(title, no_wrap=title not in ("job", "error"), overflow="fold")
    for job in jobs:
        # Text, not markup: anything may have been written to Redis.
        cells = (job.queue, job.id, job.state, _second(job.moment), job.call, job.error)
        table.add_row(*map(Text, cells), style=_STYLES.get(job.state))
    return table


def _second(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
