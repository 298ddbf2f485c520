"""Deployments for tests, with and without a database."""

from contextlib import closing

import psycopg

from livescore.deployment import Deployment, Origin
from livescore.scores import statements as sql

DEPLOYMENT = Deployment("livescore", "0123456789ab")
"""Deployment for tests without a database."""

ORIGIN = Origin(DEPLOYMENT, "ba9876543210")
"""Origin of events for tests without a database."""


def origin_of(database_url: str, prefix: str = DEPLOYMENT.prefix) -> Origin:
    """Return the deployment of a database and its current epoch."""
    with closing(psycopg.connect(database_url)) as connection:
        row = connection.execute(sql.ORIGIN).fetchone()
    assert row is not None
    return Origin(Deployment(prefix, row[0]), row[1])


def deployment_of(database_url: str, prefix: str = DEPLOYMENT.prefix) -> Deployment:
    """Return the deployment of a database."""
    return origin_of(database_url, prefix).deployment
