"""What a request may use: made once by the application, found on its state."""

from dataclasses import dataclass, field

from fastapi import FastAPI, Request, WebSocket

from livescore.api.caching import Representations
from livescore.jobs.schedule import Schedule
from livescore.live.drain import Drain
from livescore.live.node import Node
from livescore.scores.store import Store
from livescore.security.keys import Keyring
from livescore.security.limits import ClientAddress, ConnectionCaps, Limiter
from livescore.security.origins import OriginPolicy
from livescore.settings import Settings


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of one running API process."""

    settings: Settings
    store: Store
    live: Node
    drain: Drain
    schedule: Schedule
    keyring: Keyring
    limiter: Limiter
    caps: ConnectionCaps
    origins: OriginPolicy
    address: ClientAddress
    representations: Representations = field(default_factory=Representations)


def services(connection: Request | WebSocket) -> Services:
    """The parts that serve this request."""
    return services_of(connection.app)


def services_of(app: FastAPI) -> Services:
    """The parts of an application."""
    found: Services = app.state.services
    return found
