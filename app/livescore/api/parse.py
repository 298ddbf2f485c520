"""Parsing of ids, queries and bodies. Every fault is a :class:`BadRequest` that names its location."""

import re
from functools import cache
from itertools import islice
from typing import Any, TypeVar, cast, get_origin
from urllib.parse import parse_qsl

from pydantic import ValidationError
from starlette.requests import Request

from livescore.api.schemas.base import Body, Query
from livescore.api.schemas.fields import MAX_LABEL_LENGTH, NO_NUL_MESSAGE
from livescore.http_errors import INVALID_BODY, MAX_DETAILS, BadRequest, Issue
from livescore.scores import json_text
from livescore.scores.rules import INT4_MAX

AnyBody = TypeVar("AnyBody", bound=Body)
AnyQuery = TypeVar("AnyQuery", bound=Query)

INVALID_QUERY = "Invalid query"

_ID = re.compile("[1-9][0-9]{0,9}")

# Replaces messages of pydantic that name Python's types.
_JSON_TYPES = {
    "model_type": "Input should be a JSON object",
    "dict_type": "Input should be a JSON object",
    "list_type": "Input should be a JSON array",
}


async def body(request: Request, model: type[AnyBody]) -> AnyBody:
    """Return the JSON body as a ``model``.

    Raises:
        BadRequest: The body is malformed; the details name all faults.
    """
    try:
        parsed = model.model_validate(await json_body(request))
    except ValidationError as error:
        raise BadRequest(INVALID_BODY, *_issues(error)) from None
    if issues := tuple(islice(parsed.issues(), MAX_DETAILS)):
        raise BadRequest(INVALID_BODY, *issues)
    return parsed


async def json_body(request: Request) -> Any:
    """Return the body as parsed JSON. It is parsed once per request, so that all callers get the same result.

    Raises:
        BadRequest: The body is not declared as JSON, or :mod:`livescore.scores.json_text` does not accept it.
    """
    if not hasattr(request.state, "json_body"):
        _check_media_type(request)
        try:
            request.state.json_body = json_text.parse(await request.body())
        except json_text.JsonError as error:
            raise BadRequest(INVALID_BODY, Issue(error.path, str(error))) from None
    return request.state.json_body


def _check_media_type(request: Request) -> None:
    if content_type(request) != "application/json":
        raise BadRequest(INVALID_BODY, Issue((), "Content-Type should be application/json"))


def content_type(request: Request) -> str:
    """Return the media type of the body without its parameters; empty if the request names none.

    Raises:
        BadRequest: The body has a content coding.
    """
    if request.headers.get("content-encoding", "").strip().lower() not in ("", "identity"):
        raise BadRequest(INVALID_BODY, Issue(("Content-Encoding",), "Content codings are not supported: send it plain"))
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def query(request: Request, model: type[AnyQuery]) -> AnyQuery:
    """Return the query parameters as a ``model``.

    Raises:
        BadRequest: A parameter is malformed, or repeated although its type is not a list.
    """
    text = request.scope["query_string"]
    if not text:
        return cast(AnyQuery, _defaults(model))
    try:
        pairs = parse_qsl(text.decode(), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        raise BadRequest(INVALID_QUERY, Issue((), "Query should be UTF-8")) from None
    return _query(pairs, model)


def _query(pairs: list[tuple[str, str]], model: type[AnyQuery]) -> AnyQuery:
    known = _parameters(model)
    given: dict[str, list[str]] = {}
    for name, value in pairs:
        if name in known:
            given.setdefault(name, []).append(value)
    repeated = [name for name, values in given.items() if len(values) > 1 and not known[name]]
    if repeated:
        raise BadRequest(
            INVALID_QUERY, *(Issue((name,), "Parameter should be given once") for name in sorted(repeated))
        )
    parameters = {name: values if known[name] else values[0] for name, values in given.items()}
    try:
        return model.model_validate(parameters)
    except ValidationError as error:
        raise BadRequest(INVALID_QUERY, *(_without_index(issue, given, model) for issue in _issues(error))) from None


def _issues(validation: ValidationError) -> list[Issue]:
    """Return the faults that pydantic found."""
    errors = validation.errors(include_url=False, include_context=False, include_input=False)
    return [Issue(error["loc"], _JSON_TYPES.get(error["type"], error["msg"])) for error in errors[:MAX_DETAILS]]


def _without_index(issue: Issue, given: dict[str, list[str]], model: type[Query]) -> Issue:
    """Shorten the path of an issue to the parameter, unless it has several values."""
    name = str(issue.path[0])
    is_single = len(given.get(name, ())) == 1 and name not in model.COMMA_SEPARATED
    return Issue((name,), issue.message) if is_single else issue


@cache
def _parameters(model: type[Query]) -> dict[str, bool]:
    """Return name → whether the parameter is a list."""
    fields = model.model_fields.items()
    return {field.alias or name: get_origin(field.annotation) is list for name, field in fields}


@cache
def _defaults(model: type[Query]) -> Query:
    return _query([], model)


def path_label(request: Request, name: str, kind: str) -> str:
    """Return a name of the path.

    Args:
        request: The request.
        name: Name of the path parameter.
        kind: The object that it identifies, for the error.

    Raises:
        BadRequest: The name is too long, or contains U+0000.
    """
    text: str = request.path_params[name]
    if len(text) > MAX_LABEL_LENGTH:
        raise BadRequest(
            f"Invalid {kind} id", Issue((name,), f"String should have at most {MAX_LABEL_LENGTH} characters")
        )
    if "\x00" in text:
        raise BadRequest(f"Invalid {kind} id", Issue((name,), NO_NUL_MESSAGE))
    return text


def path_id(request: Request, name: str, kind: str) -> int:
    """Return an id of the path.

    Args:
        request: The request.
        name: Name of the path parameter.
        kind: The object that it identifies, for the error.

    Raises:
        BadRequest: The id is not an integer from 1 to the largest int4.
    """
    text = request.path_params[name]
    number = int(text) if _ID.fullmatch(text) else 0
    if not 0 < number <= INT4_MAX:
        raise BadRequest(f"Invalid {kind} id", Issue((name,), f"Input should be an integer from 1 to {INT4_MAX}"))
    return number
