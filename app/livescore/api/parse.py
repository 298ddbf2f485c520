"""The parts of a request, checked. Whatever is wrong with them is a :class:`BadRequest` that names the place."""

import re
from collections.abc import Iterator
from functools import cache
from itertools import islice
from typing import Any, TypeVar, cast
from urllib.parse import parse_qsl

from pydantic import ValidationError
from starlette.requests import Request

from livescore.api.errors import INVALID_BODY, MOST_DETAILS, BadRequest, Issue
from livescore.api.schemas import Body, Query
from livescore.scores import json_text
from livescore.scores.rules import INT4_MAX

AnyBody = TypeVar("AnyBody", bound=Body)
AnyQuery = TypeVar("AnyQuery", bound=Query)

INVALID_QUERY = "Invalid query"

_ID = re.compile("[1-9][0-9]{0,9}")


async def body(request: Request, model: type[AnyBody]) -> AnyBody:
    """Return the JSON body as a ``model``.

    Raises:
        BadRequest: naming the places of all faults.
    """
    try:
        parsed = model.model_validate(await json_body(request))
    except ValidationError as error:
        raise BadRequest.of(INVALID_BODY, error) from None
    if issues := tuple(islice(parsed.issues(), MOST_DETAILS)):
        raise BadRequest(INVALID_BODY, *issues)
    return parsed


async def json_body(request: Request) -> Any:
    """Return the body as parsed JSON. It is parsed once per request, so that every use judges it alike.

    Raises:
        BadRequest: if the body is not declared as JSON, or is no JSON that :mod:`livescore.scores.json_text` takes.
    """
    if not hasattr(request.state, "json_body"):
        _check_media_type(request)
        try:
            request.state.json_body = json_text.parse(await request.body())
        except json_text.JsonError as error:
            raise BadRequest(INVALID_BODY, Issue(error.path, str(error))) from None
    return request.state.json_body


def _check_media_type(request: Request) -> None:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise BadRequest(INVALID_BODY, Issue((), "Content-Type should be application/json"))
    if request.headers.get("content-encoding", "").strip().lower() not in ("", "identity"):
        raise BadRequest(INVALID_BODY, Issue(("Content-Encoding",), "Content codings are not supported: send it plain"))


def query(request: Request, model: type[AnyQuery]) -> AnyQuery:
    """The query parameters as a ``model``; each may be given once."""
    text = request.scope["query_string"]
    if not text:
        return cast(AnyQuery, _defaults(model))
    try:
        pairs = parse_qsl(text.decode(), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        raise BadRequest(INVALID_QUERY, Issue((), "Query should be UTF-8")) from None
    return _query(pairs, model)


def _query(pairs: list[tuple[str, str]], model: type[AnyQuery]) -> AnyQuery:
    parameters = dict(pairs)
    if len(parameters) != len(pairs) and (repeated := tuple(_repeated(pairs, _parameters(model)))):
        raise BadRequest(INVALID_QUERY, *repeated)
    try:
        return model.model_validate(parameters)
    except ValidationError as error:
        raise BadRequest.of(INVALID_QUERY, error) from None


def _repeated(pairs: list[tuple[str, str]], known: frozenset[str]) -> Iterator[Issue]:
    names = [name for name, _ in pairs]
    for name in sorted(known):
        if names.count(name) > 1:
            yield Issue((name,), "Parameter should be given once")


@cache
def _parameters(model: type[Query]) -> frozenset[str]:
    return frozenset(field.alias or name for name, field in model.model_fields.items())


@cache
def _defaults(model: type[Query]) -> Query:
    return _query([], model)


def path_id(request: Request, name: str = "id", kind: str = "match") -> int:
    """A positive int4 of the path."""
    text = request.path_params[name]
    number = int(text) if _ID.fullmatch(text) else 0
    if not 0 < number <= INT4_MAX:
        raise BadRequest(f"Invalid {kind} id", Issue((name,), f"Input should be an integer from 1 to {INT4_MAX}"))
    return number
