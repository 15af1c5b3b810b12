"""The sockets of a server, bound before bundles are loaded, so that a port that is taken is found at once."""

import asyncio
import socket

from dimstream_server.addresses import split_address
from dimstream_server.endpoints.http.app import HttpApp
from dimstream_server.endpoints.http.server import HttpServer, make_http_server
from dimstream_server.endpoints.zmq.endpoint import bind_router
from dimstream_server.endpoints.zmq.router import CannotBind, Router
from dimstream_server.monitoring.metrics import Metrics
from dimstream_server.ready_file import CannotStart
from dimstream_server.security.access import Access
from dimstream_server.settings import Settings

_POLL_S = 0.005


def bind_http(address: str) -> socket.socket:
    """A socket that listens at this address.

    Raises
    ------
    CannotStart
    """
    host, port = split_address(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen()  # so that a second server on the same port fails now and not when it is warm
    except OSError as error:
        bound.close()
        raise CannotStart(f"cannot bind the HTTP address {address}: {error.strerror}") from error
    return bound


def bind_zmq(settings: Settings, access: Access, metrics: Metrics) -> tuple[Router, str]:
    """The ZeroMQ socket, and the endpoint that was bound, with the port that was picked.

    Raises
    ------
    CannotStart
    """
    try:
        return bind_router(settings, access, metrics)
    except CannotBind as error:
        raise CannotStart(str(error)) from error


def url_of(bound: socket.socket) -> str:
    """Where a socket listens, as a URL."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def start_http(
    endpoint: HttpApp, bound: socket.socket, settings: Settings, metrics: Metrics
) -> tuple[HttpServer, asyncio.Task[None]]:
    """The HTTP server, which answers, and its task.

    Raises
    ------
    CannotStart
    """
    server = make_http_server(endpoint.app, bound, settings, metrics=metrics, responder=endpoint.responder)
    task = asyncio.ensure_future(server.serve())
    while not server.started:
        if task.done():
            task.result()
            raise CannotStart("the HTTP server did not start; see its log")
        await asyncio.sleep(_POLL_S)
    return server, task
