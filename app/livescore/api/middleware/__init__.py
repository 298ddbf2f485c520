"""ASGI middleware of the public port, in the order in which a request passes it.

request_telemetry   a request id, and the count and duration of every request
cors                CORS headers and preflight requests
retry_stream        turns the refusal of an EventSource into a stream that asks for a later attempt
rate_limit          limits per client address
websocket_origin    refuses WebSocket handshakes from pages of other origins
body_limit          bounds request bodies
api_prefix          lets the routes under /api reach those without the prefix
revoked_keys        ends the responses of revoked keys; only if reading needs a key

The management port has one of its own: ``cross_site`` refuses requests of web pages.

A middleware that lets a request pass unchanged returns the awaitable of the next application instead of awaiting it:
that saves a coroutine per request and layer. uvicorn takes such a callable for ASGI 2, so the outermost middleware is a
coroutine function; tests that serve another one set ``interface="asgi3"``.
"""
