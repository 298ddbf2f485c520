"""The services of one API process, which every request can reach through the application's state."""

from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.websockets import WebSocket

from livescore.api.caching import MatchCache
from livescore.imports.records import ImportRecords
from livescore.jobs import standings
from livescore.jobs.schedule import Schedule
from livescore.live.drain import Drain
from livescore.live.realtime_server import RealtimeServer
from livescore.scores.competitions import Competitions
from livescore.scores.feed import Event
from livescore.scores.store import Store
from livescore.security.client_address import ClientAddress
from livescore.security.connection_caps import ConnectionCaps
from livescore.security.keyring import Keyring
from livescore.security.limiter import Limiter
from livescore.security.origins import OriginPolicy
from livescore.settings import Settings
from livescore.supervisor import Supervisor


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that handlers and middleware of one API process share."""

    settings: Settings
    store: Store
    imports: ImportRecords
    competitions: Competitions
    live: RealtimeServer
    supervisor: Supervisor
    drain: Drain
    schedule: Schedule
    keyring: Keyring
    limiter: Limiter
    caps: ConnectionCaps
    origins: OriginPolicy
    address: ClientAddress
    match_cache: MatchCache = field(default_factory=MatchCache)

    def publish(self, events: list[Event]) -> None:
        """Publish committed events, and enqueue the computation of standings that they may change. Never waits."""
        self.live.publish(events)
        standings.enqueue(self.schedule, events)


def services_of(connection: Request | WebSocket) -> Services:
    """Return the services of the application that serves this request."""
    services: Services = connection.app.state.services
    return services
