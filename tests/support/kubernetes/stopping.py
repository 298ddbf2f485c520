"""Stops an HTTP server while clients keep connecting."""

import asyncio

import aiohttp.web

ACCEPTED_TURNS = 3
"""Loop iterations between accepting a connection and the server's knowledge of it."""


async def stop(runner: aiohttp.web.BaseRunner) -> None:
    """Stop accepting connections and close all, including those accepted a moment ago.

    :meth:`asyncio.Server.close` alone leaves connections open that have no transport yet (observed in Python 3.11),
    and aiohttp those for which it has not yet received a transport.
    """
    loop = asyncio.get_running_loop()
    for site in runner.sites:
        server = site._server
        assert isinstance(server, asyncio.Server)
        for listening in server.sockets:
            loop.remove_reader(listening.fileno())
    for _ in range(ACCEPTED_TURNS):
        await asyncio.sleep(0)
    await runner.cleanup()
