"""``/imports``: files with matches, which a worker imports."""

from starlette.requests import Request
from starlette.responses import Response

from livescore.api import openapi, responses
from livescore.api.parse import content_type
from livescore.api.routing import Call, endpoint
from livescore.api.schemas.imports import ImportAnswer, ImportQuery, ImportsAnswer, ImportsQuery
from livescore.http_errors import INVALID_BODY, BadRequest, Issue
from livescore.imports.documents import CSV_TYPE, JSON_TYPE
from livescore.imports.rows import ImportOptions
from livescore.jobs import imports as import_jobs

PATH = "/imports"

# The largest file: a century of a league, or ten thousand matches with their goals, has some 5 MB. A worker holds the
# file in memory, and PostgreSQL keeps it until the import has ended.
MAX_BODY_BYTES = 20 * 1024 * 1024

# The schema says little: a worker reads the file, and its errors are those of the import.
_CONTENT = {
    JSON_TYPE: {"schema": {"description": "A file of openfootball, or of the format of this service."}},
    CSV_TYPE: {"schema": {"minLength": 1, "description": "A table of the format of this service."}},
}


@endpoint(
    "POST",
    PATH,
    query=ImportQuery,
    answer=ImportAnswer,
    status=202,
    access="admin",
    content=_CONTENT,
    responses={202: openapi.ACCEPTED},
    tag="imports",
)
async def create_import(call: Call, query: ImportQuery) -> Response:
    """Import matches, competition and results from a file. `GET /imports/{id}` shows the progress.

    The bound of 100 kB does not apply: a file may have 20 MB.
    """
    media_type, body = await _file(call.request)
    options = ImportOptions(query.competition, query.season, query.rule_set)
    services = call.services
    text, import_id = await services.imports.create(body, media_type, query.name, options, call.request_id)
    import_jobs.enqueue(services.schedule, import_id)
    return responses.data_response(text, 202, {"Location": f"{PATH}/{import_id}"})


async def _file(request: Request) -> tuple[str, bytes]:
    """Return the media type and the body.

    Raises:
        BadRequest: The media type is another one, or the body is empty.
    """
    media_type = content_type(request)
    if media_type not in (JSON_TYPE, CSV_TYPE):
        raise BadRequest(INVALID_BODY, Issue((), f"Content-Type should be {JSON_TYPE} or {CSV_TYPE}"))
    body = await request.body()
    if not body:
        raise BadRequest(INVALID_BODY, Issue((), "The body should be a file, and is empty"))
    return media_type, body


@endpoint("GET", PATH, query=ImportsQuery, answer=ImportsAnswer, access="admin", tag="imports")
async def list_imports(call: Call, query: ImportsQuery) -> Response:
    """Return the newest imports, without their errors."""
    items = await call.services.imports.list(query.limit)
    return responses.data_response(f"[{items}]")


@endpoint("GET", f"{PATH}/{{id}}", of="import", answer=ImportAnswer, access="admin", not_found=True, tag="imports")
async def get_import(call: Call) -> Response:
    """Return an import with its progress and errors."""
    return responses.data_response(await call.services.imports.get(call.object_id))


routes = [get_import, list_imports, create_import]
