"""Every setting of the operator: its default, its unit and the reason for both.

The environment variable is the field's name in capitals; ``livescore-operator run`` takes the namespaces as options.
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
        description="Namespaces to serve, separated by commas; for the whole cluster say `--all-namespaces`.",
    )
    pod_namespace: str = Field(
        "livescore-system", description="Namespace of the operator: its Lease is there, and its pods may read sockets."
    )
    pod_name: str = Field(default_factory=socket.gethostname, description="Name in the Lease and in Events.")
    host: str = Field(
        "*", description="Address of probes and metrics; `*` for every IPv4 and IPv6 address of the machine."
    )
    port: int = Field(8080, ge=0, le=65535, description="Port of probes and metrics.")
    lease_name: str = Field("livescore-operator", description="Name of the Lease; one leader per Lease.")
    lease_seconds: float = Field(
        15.0, ge=1, description="How long a leader that was killed is waited for before another one acts."
    )
    resync_seconds: float = Field(
        300.0, ge=1, description="How often everything is compared although nothing was heard of it."
    )
    connections_seconds: float = Field(
        15.0, ge=0.1, description="How often the API pods are asked for their open connections."
    )
    workers: int = Field(4, ge=1, le=100, description="LiveScores that are worked on at the same time.")
    metrics_adapter: bool = Field(False, description="Serve `custom.metrics.k8s.io`, and register for it.")
    metrics_adapter_port: int = Field(6443, ge=0, le=65535, description="Port of the metrics adapter (HTTPS).")
    metrics_adapter_service: str = Field(
        "livescore-operator-metrics", description="Service of the metrics adapter, in the namespace of the operator."
    )
    metrics_adapter_role: str = Field(
        "livescore-operator-registration",
        description="ClusterRole by which the metrics adapter is registered; its APIServices go with it.",
    )
    request_timeout_seconds: float = Field(
        5.0, gt=0, description="Longest a request to the API server may take; at most a third of `LEASE_SECONDS`."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Least severe level logged.")
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="`auto` is `console` on a terminal and `json` elsewhere."
    )

    @model_validator(mode="after")
    def _writes_end_with_the_lease(self) -> Self:
        """A leader begins no write in the last third of its Lease: a write must not outlive it."""
        if self.request_timeout_seconds > self.lease_seconds / 3:
            raise ValueError("REQUEST_TIMEOUT_SECONDS must be at most a third of LEASE_SECONDS")
        return self


class SettingsError(Exception):
    """The environment does not describe a configuration; ``problems`` names every fault."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(["invalid configuration:", *(f"  {problem}" for problem in problems)]))


def load(**overrides: object) -> Settings:
    """Read the settings from the environment; ``overrides`` win.

    Raises:
        SettingsError: naming every invalid variable at once.
    """
    try:
        return Settings(**overrides)  # type: ignore[arg-type]  # what pydantic validates
    except ValidationError as error:
        raise SettingsError([_problem(issue["loc"], issue["msg"]) for issue in error.errors()]) from None


def _problem(place: tuple[int | str, ...], message: str) -> str:
    """A fault of one variable, or of several together, which then are in the message."""
    name = ".".join(map(str, place)).upper()
    return f"{name}: {message}" if name else message.removeprefix("Value error, ")


@cache
def commit() -> str:
    """The commit this image was built from, or ``unknown``."""
    return os.environ.get("LIVESCORE_COMMIT", "unknown")
