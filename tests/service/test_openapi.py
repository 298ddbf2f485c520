"""OpenAPI is complete and readable."""

import httpx

from tests.support.service import Service


async def test_every_operation_is_documented_with_its_responses(service: Service) -> None:
    async with service.client() as http:
        document = (await http.get("/openapi.json")).json()
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations) > 10
    assert all(operation.get("description") for operation in operations)
    assert not [path for path in document["paths"] if path.startswith("/api")]


async def test_both_documentation_pages_are_served(service: Service) -> None:
    async with httpx.AsyncClient(base_url=service.base_url, verify=False) as http:
        assert (await http.get("/docs")).headers["content-type"].startswith("text/html")
        assert (await http.get("/openapi.json")).json()["info"]["title"] == "LiveScore"
