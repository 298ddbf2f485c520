"""``/`` names every route, and the documentation page loads nothing from other hosts."""

import re
from html.parser import HTMLParser

import httpx

from livescore.api import root
from tests.support.service import Service
from tests.support.validation import openapi


class Loads(HTMLParser):
    """Collects the resources that a page makes a browser load or run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        handlers = [name for name, _ in attrs if name.startswith("on") or name in ("src", "style", "srcset", "action")]
        self.found += handlers
        if tag in ("script", "link", "iframe", "img", "object", "embed", "form", "base"):
            self.found.append(tag)


async def test_the_root_names_every_route(http: httpx.AsyncClient) -> None:
    described = (await http.get("/")).json()
    documents = {"/docs", "/openapi.json", "/asyncapi.json", "/ws"}
    assert set(described["endpoints"].values()) == (set(openapi()["paths"]) - {"/"}) | documents
    assert described["endpoints"]["commentary"] == "/matches/{id}/commentary"
    assert described["endpoints"] == root.ENDPOINTS


async def test_documentation_page_shows_every_operation_and_loads_nothing(service: Service) -> None:
    async with httpx.AsyncClient(base_url=service.base_url, verify=False) as http:
        page = await http.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    loads = Loads()
    loads.feed(page.text)
    assert loads.found == []
    assert re.findall(r"url\(|@import", page.text) == []
    assert [tag for tag in re.findall(r"<[^>]*>", page.text) if "://" in tag] == []
    for path in openapi()["paths"]:
        assert path in page.text
    for name in openapi()["components"]["schemas"]:
        assert name in page.text


async def test_every_html_answer_has_security_headers(service: Service) -> None:
    async with httpx.AsyncClient(base_url=service.base_url, verify=False, headers={"Accept": "text/html"}) as http:
        answers = [
            await http.get(path) for path in ("/docs", "/", "/nowhere", "/redoc", "/docs/oauth2-redirect", "/ws")
        ]
    html = [answer for answer in answers if answer.headers["content-type"].startswith("text/html")]
    assert answers[0] in html
    for answer in html:
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
