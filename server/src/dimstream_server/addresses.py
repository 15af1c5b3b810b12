"""Addresses that an endpoint may bind, and whether other machines can reach them."""

import ipaddress
import re
from typing import Final

# RFC 3986, 3.2
_AUTHORITY: Final = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._~!$&'()*+,;=%-]+)(?::([0-9]{0,5}))?")


def is_loopback(host: str) -> bool:
    """Whether `host` is ``localhost`` or a loopback address literal."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def split_address(address: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT`` or ``[IPV6]:PORT``.

    Raises
    ------
    ValueError
        There is no port, or it is not a number from 0 to 65535.
    """
    host, colon, port = address.rpartition(":")
    bare_ipv6 = ":" in host and not (host.startswith("[") and host.endswith("]"))
    if not colon or not host or bare_ipv6 or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError(f"expected HOST:PORT with a port from 0 to 65535, got {address!r}")
    return host.strip("[]"), int(port)


def host_in(authority: str) -> str | None:
    """The host, in lower case, of ``HOST`` or ``HOST:PORT`` in an HTTP request; None where it is neither.

    IPv6 addresses are in brackets, as they must be there. There is no user before a host.
    """
    match = _AUTHORITY.fullmatch(authority.lower())
    if match is None or int(match[2] or 0) > 65535:
        return None
    if match[1].startswith("["):
        try:
            ipaddress.IPv6Address(match[1][1:-1])
        except ValueError:
            return None
    return match[1]


def is_address_literal(host: str) -> bool:
    """Whether `host` is an IP address and no name."""
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def check_http_address(address: str) -> str:
    """The address, when it is one.

    Raises
    ------
    ValueError
    """
    split_address(address)
    return address


def check_zmq_endpoint(endpoint: str) -> str:
    """The endpoint in the form that ZeroMQ takes.

    Raises
    ------
    ValueError
        It is neither ``tcp://HOST:PORT`` nor ``ipc://PATH``.
    """
    scheme, separator, rest = endpoint.partition("://")
    if separator and scheme == "ipc" and rest:
        return endpoint
    if not separator or scheme != "tcp":
        raise ValueError(f"expected tcp://HOST:PORT or ipc://PATH, got {endpoint!r}")
    host, port = split_address(rest.replace(":*", ":0"))
    shown = f"[{host}]" if ":" in host else host
    return f"tcp://{shown.replace('localhost', '127.0.0.1')}:{port}"


def check_worker(address: str) -> str:
    """The endpoint of a worker in the form that ZeroMQ takes.

    Raises
    ------
    ValueError
        It is none that can be connected to.
    """
    endpoint = check_zmq_endpoint(address)
    if endpoint.endswith(":0") or endpoint.startswith("tcp://*"):
        raise ValueError(f"expected the host and port of a worker, got {address!r}")
    return endpoint


def is_public_endpoint(endpoint: str) -> bool:
    """Whether other machines can reach a ZeroMQ endpoint."""
    scheme, _, rest = endpoint.partition("://")
    return scheme == "tcp" and is_public_address(rest)


def is_public_address(address: str) -> bool:
    """Whether other machines can reach HOST:PORT."""
    return not is_loopback(split_address(address)[0])
