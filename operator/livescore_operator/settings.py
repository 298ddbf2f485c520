"""Settings of the operator, with defaults and units.

Each one is read from the environment variable with the upper-case name of the field. ``livescore-operator run`` also
takes the namespaces as options.
"""

import os
import socket
from functools import cache
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Names = Annotated[
    list[str],
    NoDecode,
    BeforeValidator(
        lambda text: [part.strip() for part in text.split(",") if part.strip()] if isinstance(text, str) else text
    ),
]


class Settings(BaseSettings):
    """The configuration of one operator process."""

    model_config = SettingsConfigDict(env_file=None, extra="ignore", frozen=True, env_ignore_empty=True)

    namespaces: Names = Field(
        default_factory=list,
        description="Namespaces to serve, separated by commas. For the whole cluster use `--all-namespaces`.",
    )
    pod_namespace: str = Field(
        "livescore-system", description="Namespace of the operator and its Lease. Network policies admit its pods."
    )
    pod_name: str = Field(
        default_factory=socket.gethostname, description="Name of this process in the Lease and in Events."
    )
    host: str = Field("*", description="Address of probes and metrics; `*` for all IPv4 and IPv6 addresses.")
    port: int = Field(8080, ge=0, le=65535, description="Port of probes and metrics.")
    lease_name: str = Field("livescore-operator", description="Name of the Lease; one leader per Lease.")
    lease_seconds: float = Field(
        15.0,
        ge=1,
        description="Duration of the Lease in seconds. A leader that is silent for so long is replaced.",
    )
    resync_seconds: float = Field(
        300.0,
        ge=1,
        description="Seconds between full comparisons of all LiveScores, which find changes that caused no event.",
    )
    connections_seconds: float = Field(
        15.0, ge=0.1, description="Seconds between reads of the open connections of the API pods."
    )
    workers: int = Field(4, ge=1, le=100, description="LiveScores that are reconciled concurrently.")
    metrics_adapter: bool = Field(False, description="Serve `custom.metrics.k8s.io`, and register for it.")
    metrics_adapter_port: int = Field(6443, ge=0, le=65535, description="Port of the metrics adapter (HTTPS).")
    metrics_adapter_service: str = Field(
        "livescore-operator-metrics", description="Service of the metrics adapter, in the namespace of the operator."
    )
    metrics_adapter_role: str = Field(
        "livescore-operator-registration",
        description="ClusterRole that permits the registration. It owns the APIServices, so they are deleted with it.",
    )
    request_timeout_seconds: float = Field(
        5.0, gt=0, description="Time-out of requests to the API server in seconds; at most a third of `LEASE_SECONDS`."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Minimum severity of log lines."
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="`auto` is `console` on a terminal and `json` elsewhere."
    )

    @model_validator(mode="after")
    def _writes_end_with_the_lease(self) -> Self:
        """Bound requests by a third of the Lease: a write that starts in the first two thirds ends within the Lease."""
        if self.request_timeout_seconds > self.lease_seconds / 3:
            raise ValueError("REQUEST_TIMEOUT_SECONDS must be at most a third of LEASE_SECONDS")
        return self


class SettingsError(Exception):
    """The configuration is invalid. ``problems`` lists all errors."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(["invalid configuration:", *(f"  {problem}" for problem in problems)]))


def load(**overrides: object) -> Settings:
    """Read the settings from the environment; ``overrides`` take precedence.

    Raises:
        SettingsError: Raised with all invalid variables.
    """
    try:
        return Settings(**overrides)  # type: ignore[arg-type]  # what pydantic validates
    except ValidationError as error:
        raise SettingsError([_problem(issue["loc"], issue["msg"]) for issue in error.errors()]) from None


def _problem(place: tuple[int | str, ...], message: str) -> str:
    """Return an error about one variable, or about several, which the message names."""
    name = ".".join(map(str, place)).upper()
    return f"{name}: {message}" if name else message.removeprefix("Value error, ")


@cache
def commit() -> str:
    """Return the commit from which this image was built, or ``unknown``."""
    return os.environ.get("LIVESCORE_COMMIT", "unknown")
