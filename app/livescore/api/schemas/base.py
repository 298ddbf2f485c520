"""The classes of models: request bodies, queries and responses."""

from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from livescore.http_errors import Issue

# Default for optional members that must not be null: None means that the member is absent.
OMITTED: Any = None


class Body(BaseModel):
    """A request body; unknown members are dropped."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    def values(self) -> dict[str, Any]:
        """Return all members by their names in the store."""
        return self.__dict__

    def given(self) -> dict[str, Any]:
        """Return the members that the client sent."""
        return {name: getattr(self, name) for name in self.model_fields_set}

    def issues(self) -> Iterator[Issue]:
        """Yield the faults of members that are valid by themselves but not together."""
        yield from ()


class Patch(Body):
    """A request body with at least one member."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    def issues(self) -> Iterator[Issue]:
        """Yield an issue for a body without any known member."""
        if not self.model_fields_set:
            yield Issue((), "At least one known member is required")


class Query(BaseModel):
    """The query of a request; unknown parameters are ignored, and those of a list type may be repeated.

    Attributes:
        COMMA_SEPARATED: Names of the list parameters that may also be separated by commas.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    COMMA_SEPARATED: ClassVar[frozenset[str]] = frozenset()


class Answer(BaseModel):
    """A response body or a part of one; later versions may add members."""

    model_config = ConfigDict(alias_generator=to_camel)
