"""Refuses to serve other machines without keys and tokens, unless the settings ask for just that."""

from dimstream_server.addresses import is_public_address, is_public_endpoint
from dimstream_server.settings.http import HttpTable
from dimstream_server.settings.server import ServerTable
from dimstream_server.settings.workers import WorkersTable
from dimstream_server.settings.zmq import ZmqTable


def refuse_open_endpoints(server: ServerTable, zmq: ZmqTable, http: HttpTable) -> None:
    """Refuse endpoints without locks beyond loopback, unless `insecure_lan` asks for them.

    Raises
    ------
    ValueError
    """
    public_zmq = is_public_endpoint(zmq.endpoint)
    public_http = is_public_address(http.address)
    locks = [
        name
        for name, path in {
            "zmq.server_secret_key": zmq.server_secret_key,
            "http.tokens": http.tokens,
        }.items()
        if path is not None
    ]
    if server.insecure_lan:
        _refuse_contradiction(locks, public=public_zmq or public_http)
        return
    if public_zmq and "zmq.server_secret_key" not in locks:
        raise ValueError(
            f"zmq endpoint {zmq.endpoint!r} could be reached from other machines, got no keys: make "
            "some by `dimstream-server keygen FOLDER` and set zmq.server_secret_key and zmq.allowed_clients, "
            "or bind a loopback address (docs/security.md)"
        )
    if public_http and "http.tokens" not in locks:
        raise ValueError(
            f"http address {http.address!r} could be reached from other machines, got no tokens: "
            "make one by `dimstream-server keygen FOLDER --token NAME` and set http.tokens, or bind a "
            "loopback address (docs/security.md)"
        )


def refuse_open_workers(addresses: tuple[str, ...], workers: WorkersTable, server: ServerTable) -> None:
    """Refuse workers on other machines that would be sent frames unencrypted, unless `insecure_lan` is set.

    Raises
    ------
    ValueError
    """
    if workers.key is not None or server.insecure_lan:
        return
    for address in addresses:
        if is_public_endpoint(address):
            raise ValueError(
                f"worker {address} is on another machine, got no keys: set workers.server_key and "
                "workers.key (docs/scale.md), or insecure_lan where nobody else is on that network"
            )


def _refuse_contradiction(locks: list[str], *, public: bool) -> None:
    if locks:
        raise ValueError(
            f"insecure_lan leaves the server open to all, but got {' and '.join(locks)} that protect it; "
            "leave out one or the other"
        )
    if not public:
        raise ValueError(
            "insecure_lan opens the server to other machines, but got loopback addresses that none can "
            "reach; leave it out, or set zmq.endpoint or http.address"
        )
