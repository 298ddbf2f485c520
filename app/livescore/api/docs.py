"""``/openapi.json``, and ``/docs``: the same document as a page without scripts, which works offline."""

import base64
import hashlib
from collections.abc import Iterator
from html import escape
from typing import Any

import orjson
from starlette.responses import Response

from livescore.api import openapi
from livescore.api.routing import Call, endpoint

Json = dict[str, Any]

STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 0 auto; padding: 1rem; }
summary { cursor: pointer; padding: .3rem; }
details { border: 1px solid color-mix(in srgb, currentColor 25%, transparent); border-radius: .3rem; margin: .3rem 0; }
details > div { padding: 0 1rem 1rem; }
b { display: inline-block; min-width: 4.5rem; }
code, pre { font-family: ui-monospace, monospace; }
pre { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; vertical-align: top; padding: .2rem .6rem .2rem 0; }
"""

# The policy allows no scripts, and only this style, by its digest.
_DIGEST = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_DIGEST}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}


@endpoint("GET", "/openapi.json", documented=False)
async def openapi_json(call: Call) -> Response:
    """Return the OpenAPI document."""
    return Response(orjson.dumps(openapi.document_of(call.request.app)), media_type="application/json")


@endpoint("GET", "/docs", documented=False)
async def docs(call: Call) -> Response:
    """Return the operations and schemas of this service as a page for people."""
    page = render(openapi.document_of(call.request.app))
    return Response(page, headers=SECURITY_HEADERS, media_type="text/html")


def render(document: Json) -> str:
    """Return an OpenAPI document as one HTML page."""
    title = escape(document["info"]["title"])
    return "".join(
        [
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title} API</title>',
            f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>',
            f"<h1>{title} {escape(document['info']['version'])}</h1><p>{escape(document['info']['description'])} ",
            'For programs: <a href="openapi.json">openapi.json</a>, <a href="asyncapi.json">asyncapi.json</a>.</p>',
            *_operations(document),
            "<h2>Schemas</h2>",
            *(_schema(name, schema) for name, schema in sorted(document["components"]["schemas"].items())),
            "</body></html>",
        ]
    )


def _operations(document: Json) -> Iterator[str]:
    tag = None
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if operation.get("tags", ["other"])[0] != tag:
                tag = operation.get("tags", ["other"])[0]
                yield f"<h2>{escape(tag.capitalize())}</h2>"
            yield _operation(method, path, operation)


def _operation(method: str, path: str, operation: Json) -> str:
    parameters = [
        (parameter["name"], f"{parameter['in']}: {_kind(parameter['schema'])} {parameter.get('description', '')}")
        for parameter in operation.get("parameters", [])
    ]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    responses = [
        (status, f"{response['description']} {_content(response)}")
        for status, response in operation["responses"].items()
    ]
    return (
        f"<details><summary><b>{method.upper()}</b> <code>{escape(path)}</code></summary><div>"
        f"<p>{escape(operation.get('description', ''))}</p>"
        + _table("Parameters", parameters)
        + (f"<h4>Body</h4><p>{_kind(body['schema'])}</p>" if body else "")
        + _table("Answers", responses)
        + "</div></details>"
    )


def _content(response: Json) -> str:
    return " ".join(_kind(content["schema"]) for content in response.get("content", {}).values())


def _table(heading: str, rows: list[tuple[str, str]]) -> str:
    if not rows:
        return ""
    cells = "".join(f"<tr><th><code>{escape(name)}</code></th><td>{escape(text)}</td></tr>" for name, text in rows)
    return f"<h4>{heading}</h4><table>{cells}</table>"


def _kind(schema: Json) -> str:
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if schema.get("type") == "array":
        return f"array of {_kind(schema['items'])}"
    return str(schema.get("type", "any"))


def _schema(name: str, schema: Json) -> str:
    text = orjson.dumps(schema, option=orjson.OPT_INDENT_2).decode()
    return f"<details><summary><code>{escape(name)}</code></summary><div><pre>{escape(text)}</pre></div></details>"


routes = [docs, openapi_json]
