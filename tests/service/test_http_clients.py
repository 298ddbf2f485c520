"""Real HTTP clients that offer an upgrade with every request, and a real proxy in front of the service."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.clients import Listener
from tests.support.ports import Port
from tests.support.service import Json, Service, match_body

# Runs from source; java.net.http sends `Upgrade: h2c` and HTTP2-Settings with every request by default.
JAVA = """
import java.net.URI;
import java.net.http.*;

public class Client {
    public static void main(String[] args) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        for (String method : new String[] {"POST", "GET", "POST"}) {
            HttpRequest.BodyPublisher body = method.equals("GET")
                ? HttpRequest.BodyPublishers.noBody()
                : HttpRequest.BodyPublishers.ofString(args[1]);
            HttpRequest request = HttpRequest.newBuilder(URI.create(args[0]))
                .header("Content-Type", "application/json").method(method, body).build();
            HttpResponse<String> answer = client.send(request, HttpResponse.BodyHandlers.ofString());
            System.out.println(answer.statusCode() + " " + answer.version());
        }
    }
}
"""

NGINX = """
daemon off;
error_log stderr;
pid {directory}/nginx.pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://127.0.0.1:{upstream};
            proxy_http_version 1.1;
            proxy_request_buffering off;
            proxy_set_header Host $host:$server_port;
            # As many pages recommend: whatever the client offers reaches the service.
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $http_connection;
        }}
    }}
}}
"""


async def _run(*command: str | Path) -> str:
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        async with asyncio.timeout(150):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output.decode()


def _installed(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed")
    return path


async def _curl(url: str, *options: str) -> tuple[int, Json]:
    """Run curl, which offers h2c with every request."""
    quiet = ("--silent", "--max-time", "30", "-w", "\n%{http_code}")
    output = await _run(_installed("curl"), "--http2", *quiet, *options, url)
    body, _, status = output.rpartition("\n")
    return int(status), json.loads(body)


JSON = ("-H", "Content-Type: application/json")


async def _write_and_read(url: str) -> None:
    """Create a match, add a commentary that looks like a request, and end the match, with curl."""
    status, created = await _curl(f"{url}/matches", *JSON, "-d", json.dumps(match_body()))
    assert status == 201
    match = f"{url}/matches/{created['data']['id']}"
    text = f"x\r\n\r\nPATCH /matches/{created['data']['id']}/end HTTP/1.1\r\nHost: a\r\n\r\n"
    entry = json.dumps({"minute": 1, "message": text})
    for options in ([], ["-H", "Transfer-Encoding: chunked"], ["-H", "Expect: 100-continue"]):
        status, commented = await _curl(f"{match}/commentary", *JSON, "-d", entry, *options)
        assert (status, commented["data"]["message"]) == (201, text)
    assert (await _curl(match))[1]["data"]["status"] == "live"
    assert (await _curl(f"{match}/end", "-X", "PATCH"))[1]["data"]["status"] == "finished"


async def test_curl_with_http2_can_write(service: Service) -> None:
    await _write_and_read(service.base_url)


async def test_java_can_write(service: Service, tmp_path: Path) -> None:
    source = tmp_path / "Client.java"
    source.write_text(JAVA)
    output = await _run(_installed("java"), source, f"{service.base_url}/matches", json.dumps(match_body()))
    assert output.split("\n")[:3] == ["201 HTTP_1_1", "200 HTTP_1_1", "201 HTTP_1_1"]


@pytest.fixture
async def nginx(service: Service, tmp_path: Path) -> AsyncIterator[str]:
    """The address of nginx in front of the service."""
    program, port = _installed("nginx"), Port()
    configuration = tmp_path / "nginx.conf"
    configuration.write_text(NGINX.format(directory=tmp_path, port=port.number, upstream=service.port))
    process = await asyncio.create_subprocess_exec(program, "-e", "stderr", "-p", tmp_path, "-c", configuration)
    try:
        async with asyncio.timeout(30):
            while not await _accepts(port.number):
                await asyncio.sleep(0.02)
        yield f"http://127.0.0.1:{port.number}"
    finally:
        process.terminate()
        await process.wait()
        port.release()


async def _accepts(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def test_an_ignored_upgrade_passes_through_nginx(nginx: str) -> None:
    await _write_and_read(nginx)


async def test_a_websocket_passes_through_nginx(nginx: str, service: Service) -> None:
    async with Listener(nginx.replace("http", "ws") + "/ws") as listener:
        match = await service.create_match()
        await listener.subscribe(match["id"])
        await service.comment(match["id"])
        await listener.until_seq(match["id"], 2)
