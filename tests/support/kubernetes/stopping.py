"""The end of an HTTP server whose clients do not know that it ends."""

import asyncio

import aiohttp.web

ACCEPTED_TURNS = 3
"""Turns of the loop from an accepted connection to the one in which the server knows of it."""


async def stop(runner: aiohttp.web.BaseRunner) -> None:
    """Accept nobody any more, and close every connection, also those that were accepted a moment ago.

    By itself :meth:`asyncio.Server.close` leaves those open for which there is no transport yet (seen in Python 3.11),
    and aiohttp those whose transport it was not told of.
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
